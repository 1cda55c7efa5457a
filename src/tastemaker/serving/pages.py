"""The console over HTTP: one page, one form, a handful of files."""

from typing import Annotated
from urllib.parse import urlencode
from uuid import uuid4

from fastapi import FastAPI, Form
from starlette.exceptions import HTTPException
from starlette.responses import HTMLResponse, RedirectResponse, Response

from tastemaker.console import asset, render, render_error
from tastemaker.errors import InputError, TastemakerError
from tastemaker.serving.answering import answered
from tastemaker.serving.browsing import act, question_of, view_of
from tastemaker.serving.service import Service
from tastemaker.serving.user_requests import Prepared
from tastemaker.serving.work_queue import CALLER, WorkQueues
from tastemaker.store.incoming import checked_id


def add_pages(app: FastAPI, service: Service, lines: WorkQueues) -> None:
    """Adds the console's routes."""

    @app.get("/", include_in_schema=False)
    async def home(user: str = "", label: str = "", q: str = "") -> Response:
        if not user:
            return _to(f"visitor-{uuid4().hex[:8]}", label, q)
        try:
            checked_id(user, "user")
            asked = question_of(user)

            def work(prepared: Prepared) -> str:
                return render(view_of(service, asked, prepared, label, q))

            return _page(await answered(service, lines, asked, work))
        except InputError as problem:
            return _page(render_error("That did not work", str(problem)), 422)
        except TastemakerError as problem:
            page = _page(render_error("Not yet", str(problem)), 503)
            page.headers["Retry-After"] = "1"
            return page

    @app.post("/console/events", include_in_schema=False)
    async def acted(
        user: Annotated[str, Form()],
        item_id: Annotated[str, Form()],
        event_type: Annotated[str, Form()],
        recommendation_id: Annotated[str, Form()] = "",
        position: Annotated[str, Form()] = "",
        label: Annotated[str, Form()] = "",
        q: Annotated[str, Form()] = "",
    ) -> Response:
        fields = {
            "user_id": user,
            "item_id": item_id,
            "event_type": event_type,
            "recommendation_id": recommendation_id,
            "position": position,
        }
        rejected = await lines.storing.run(act, service, fields, CALLER.get())
        if rejected:
            return _page(render_error("That did not work", rejected[0]["error"]), 422)
        return _to(user, label, q)

    @app.get("/console/assets/{name}", include_in_schema=False)
    async def file(name: str) -> Response:
        found = asset(name)
        if found is None:
            raise HTTPException(404)
        content, media_type = found
        return Response(content, media_type=media_type, headers={"Cache-Control": "no-cache"})


def _page(text: str, status: int = 200) -> Response:
    return HTMLResponse(text, status)


def _to(user: str, label: str, query: str) -> Response:
    """To the page of a user, where the shelf stood before."""
    asked = {"user": user, "label": label, "q": query}
    return RedirectResponse(f"/?{urlencode({k: v for k, v in asked.items() if v})}", 303)
