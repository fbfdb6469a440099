"""The service a person writes in five minutes: FastAPI, one handler, one request at a time.

`lsr bench http` measures our service beside it. Run as a module with the folder of an index and a
port of 0; it prints its port.
"""

from __future__ import annotations

import socket
import sys
from typing import Any

from pydantic import BaseModel


class Asked(BaseModel):
    """A question."""

    query: str
    limit: int = 10


class FoundHit(BaseModel):
    """A hit."""

    id: str
    rank: int
    score: float
    title: str
    text: str
    fields: dict[str, Any]


class Answered(BaseModel):
    """The hits, and how long the search took."""

    took_ms: float
    hits: list[FoundHit]


def make_plain_app(folder: str) -> Any:
    """Return the app: a search in the handler, so that one request is answered after another."""
    from fastapi import FastAPI

    from lsr.index.index import Index
    from lsr.index.warmup import warmup

    warmup()
    index = Index.open(folder)
    index.search("warm up")
    app = FastAPI()

    @app.post("/v1/indexes/{name}/search")
    async def search(name: str, asked: Asked) -> Answered:
        result = index.search(asked.query, k=asked.limit)
        hits = [
            FoundHit(
                id=hit.id,
                rank=hit.rank,
                score=hit.score,
                title=hit.title,
                text=hit.text,
                fields=dict(hit.fields),
            )
            for hit in result
        ]
        return Answered(took_ms=result.took_ms, hits=hits)

    return app


def main(folder: str) -> None:
    """Serve an index in the plain way, on a free port that is printed."""
    import uvicorn

    app = make_plain_app(folder)
    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    sys.stdout.write(f"{listener.getsockname()[1]}\n")
    sys.stdout.flush()
    config = uvicorn.Config(app, log_level="warning", access_log=False)
    uvicorn.Server(config).run(sockets=[listener])


if __name__ == "__main__":
    main(sys.argv[1])
