"""One command per question: `python -m benchmarks.<name>`. Engines are compared on one input, and only where they agree."""
