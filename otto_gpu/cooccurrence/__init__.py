"""Co-occurrence matrices: declarative rules, three engines that agree, one top-k table."""
