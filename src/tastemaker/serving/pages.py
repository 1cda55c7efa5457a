"""The routes of the console: one page, one form and its assets."""

from typing import Annotated
from urllib.parse import urlencode
from uuid import uuid4

from fastapi import FastAPI, Form
from starlette.exceptions import HTTPException
from starlette.responses import HTMLResponse, RedirectResponse, Response

from tastemaker.console import asset, render, render_error
from tastemaker.errors import InputError, TastemakerError
from tastemaker.serving.answering import score_request
from tastemaker.serving.browsing import act, page_request, view_of
from tastemaker.serving.service import Service
from tastemaker.serving.user_requests import Prepared
from tastemaker.serving.work_queue import CALLER, WorkQueues
from tastemaker.store.incoming import checked_id


def add_pages(app: FastAPI, service: Service, queues: WorkQueues) -> None:
    """Adds the console's routes."""

    @app.get("/", include_in_schema=False)
    async def home(user: str = "", label: str = "", q: str = "") -> Response:
        if not user:
            return _redirect(f"visitor-{uuid4().hex[:8]}", label, q)
        try:
            checked_id(user, "user")
            request = page_request(user)

            def work(prepared: Prepared) -> str:
                return render(view_of(service, request, prepared, label, q))

            return _page(await score_request(service, queues, request, work))
        except InputError as problem:
            return _page(render_error("Invalid request", str(problem)), 422)
        except TastemakerError as problem:
            page = _page(render_error("Service unavailable", str(problem)), 503)
            page.headers["Retry-After"] = "1"
            return page

    @app.post("/console/events", include_in_schema=False)
    async def record_event(
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
        rejected = await queues.storing.run(act, service, fields, CALLER.get())
        if rejected:
            return _page(render_error("Invalid request", rejected[0]["error"]), 422)
        return _redirect(user, label, q)

    @app.get("/console/assets/{name}", include_in_schema=False)
    async def file(name: str) -> Response:
        found = asset(name)
        if found is None:
            raise HTTPException(404)
        content, media_type = found
        return Response(content, media_type=media_type, headers={"Cache-Control": "no-cache"})


def _page(text: str, status: int = 200) -> Response:
    return HTMLResponse(text, status)


def _redirect(user: str, label: str, query: str) -> Response:
    """A redirect to the page of a user, with the same shelf."""
    parameters = {"user": user, "label": label, "q": query}
    return RedirectResponse(f"/?{urlencode({k: v for k, v in parameters.items() if v})}", 303)
