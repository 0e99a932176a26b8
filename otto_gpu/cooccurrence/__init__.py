"""Co-occurrence matrices: declarative rules, two engines that agree, one top-k table."""
