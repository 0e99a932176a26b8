"""A small HTTP service over a finished run: `python -m otto_gpu.serve RUN`.

    a connection ─▶ connections (late headers) ─▶ bodies (size, kind, deadline) ─▶ messages (what a request may say)
                 ─▶ app (paths) ─▶ worker (one thread; what waits is answered together) ─▶ Recommender

Docs: docs/serving.md. Needs the extra `serve`.
"""
