"""The OpenAPI document as a page: plain HTML made here, for the usual viewers load their scripts from elsewhere."""

from __future__ import annotations

import json
from html import escape

BOUNDS = {"minimum": "at least", "maximum": "at most", "exclusiveMaximum": "below", "maxItems": "at most so many:"}
METHODS = ("get", "post", "put", "patch", "delete")


def docs_page(document: dict) -> str:
    schemas = document.get("components", {}).get("schemas", {})
    paths = [_operation(path, m, ways[m]) for path, ways in document["paths"].items() for m in METHODS if m in ways]
    models = [_model(name, schema) for name, schema in sorted(schemas.items())]
    info = document["info"]
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>{escape(info["title"])}: the API</title>
<link rel="icon" href="data:,">
<link rel="stylesheet" href="/static/docs.css">
</head>
<body>
<header><h1>{escape(info["title"])} <small>{escape(info["version"])}</small></h1>
<p>{escape(info.get("summary", ""))} Bodies and answers are JSON. The document itself:
<a href="/openapi.json">/openapi.json</a>; to try it by hand: <a href="/">/</a>.</p></header>
<main>
{"".join(paths)}
<h2>Models</h2>
{"".join(models)}
</main>
</body>
</html>
"""


def _operation(path: str, method: str, operation: dict) -> str:
    body = _of_content(operation.get("requestBody", {}))
    parts = [f"<section><h2><b>{method.upper()}</b> {escape(path)}</h2><p>{escape(operation.get('description', ''))}</p>"]
    parameters = operation.get("parameters", [])
    if parameters:
        rows = [_row(p["name"], p["schema"], p.get("required", False)) for p in parameters]
        parts.append(f"<h3>Parameters</h3>{_table(rows)}")
    if body is not None:
        parts.append(f"<h3>Body</h3><p>{_kind(body)}</p>")
    rows = []
    for status, answer in operation["responses"].items():
        model = _of_content(answer)
        rows.append(f"<tr><th>{escape(status)}</th><td>{escape(answer['description'])}</td><td>{_kind(model or {})}</td></tr>")
    parts.append(f"<h3>Answers</h3>{_table(rows)}</section>")
    return "".join(parts)


def _model(name: str, schema: dict) -> str:
    required = schema.get("required", ())
    rows = [_row(key, value, key in required) for key, value in schema.get("properties", {}).items()]
    about = f"<p>{escape(schema['description'])}</p>" if "description" in schema else ""
    return f'<section id="{escape(name)}"><h3>{escape(name)}</h3>{about}{_table(rows)}</section>'


def _row(name: str, schema: dict, required: bool) -> str:
    about = [schema["description"]] if "description" in schema else []
    about += [f"{word} {schema[key]:,.16g}" for key, word in BOUNDS.items() if key in schema]
    if "default" in schema and schema["default"] is not None:
        about.append(f"default {json.dumps(schema['default'])}")
    kind = _kind(schema) + ("" if required else " <i>optional</i>")
    return f"<tr><th>{escape(name)}</th><td>{kind}</td><td>{escape('; '.join(about))}</td></tr>"


def _table(rows: list[str]) -> str:
    return f'<div class="wide"><table>{"".join(rows)}</table></div>'


def _of_content(holder: dict) -> dict | None:
    for content in holder.get("content", {}).values():
        return content.get("schema")
    return None


def _kind(schema: dict) -> str:
    """A schema's type in words, models as links."""
    if "$ref" in schema:
        name = escape(schema["$ref"].rpartition("/")[2])
        return f'<a href="#{name}">{name}</a>'
    for key in ("anyOf", "oneOf"):
        if key in schema:
            return " or ".join(_kind(option) for option in schema[key])
    if "enum" in schema or "const" in schema:
        return " | ".join(f"<code>{escape(json.dumps(value))}</code>" for value in schema.get("enum", [schema.get("const")]))
    kind = schema.get("type")
    if kind == "array":
        return f"list of {_kind(schema.get('items', {}))}"
    if kind == "object" and isinstance(schema.get("additionalProperties"), dict):
        return f"by name: {_kind(schema['additionalProperties'])}"
    return escape(str(kind or "anything"))
