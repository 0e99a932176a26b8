"""Every column name of the artifacts, once."""

SESSION = "session"
AID = "aid"
TS = "ts"
TYPE = "type"
EVENT_COLUMNS = (SESSION, AID, TS, TYPE)

AID_X = "aid_x"
AID_Y = "aid_y"
WEIGHT = "weight"

ID = "id"  # the user's own id, in the dictionaries

SCORE = "score"
FOLD = "fold"


def recall_score(recipe: str) -> str:
    return f"recall_{recipe}_score"


def recall_rank(recipe: str) -> str:
    return f"recall_{recipe}_rank"


def label(target: str) -> str:
    return f"label_{target}"


def sampled(target: str) -> str:
    """Marks the rows that the rankers of a target are trained on."""
    return f"sampled_{target}"


GROUND_TRUTH = "ground_truth"
WHOLE = "whole"  # the session of which this one is a beginning, where every place is asked


def places_of(target: str) -> str:
    """Where a session's ground truth stands in its list."""
    return f"places_{target}"


def hits_of(target: str) -> str:
    """How much of it the list holds: in the files of earlier versions, which kept no places."""
    return f"hits_{target}"


def truth_of(target: str) -> str:
    """How much of it the list can hold."""
    return f"truth_{target}"
