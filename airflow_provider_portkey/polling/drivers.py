"""Asking Portkey, on the event loop, what the pure parts want to know of a thread's runs."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Generator
from typing import TYPE_CHECKING, Any, TypeVar

from airflow_provider_portkey.client.pagination import MAX_LIMIT, Query, items_of, page_query
from airflow_provider_portkey.exceptions import PortkeyRequestError
from airflow_provider_portkey.jobs.run import RUN, RUNS_PATH
from airflow_provider_portkey.polling.run_tracker import Look, Need, Page, Single, read

if TYPE_CHECKING:
    from airflow_provider_portkey.client.aio import AsyncPortkeyClient
    from airflow_provider_portkey.polling.run_pages import Pages

Question = TypeVar("Question")
Result = TypeVar("Result")


async def read_pages(client: AsyncPortkeyClient, thread_id: str, pages: Pages) -> dict[str, dict[str, Any]]:
    """Ask for the pages of a thread's list of runs that are wanted, and return the runs that were found."""
    return await _answer_all(pages, lambda after: _page(client, thread_id, page_query(limit=MAX_LIMIT, after=after)))


async def read_look(client: AsyncPortkeyClient, thread_id: str, need: Need, known: Look | None = None) -> Look:
    """Ask for what a watcher needs."""

    async def answer(question: Page | Single) -> Any:
        if isinstance(question, Single):
            return await client.get(RUN.path, {"thread_id": thread_id, "run_id": question.run_id})
        page = await _page(client, thread_id, page_query(limit=question.limit, after=question.after))
        return items_of(page), page.get("has_more") is not False

    return await _answer_all(read(need, known), answer)


async def _page(client: AsyncPortkeyClient, thread_id: str, query: Query) -> dict[str, Any]:
    return await client.get(RUNS_PATH, {"thread_id": thread_id}, query)


async def _answer_all(
    questions: Generator[Question, Any, Result], answer: Callable[[Question], Awaitable[Any]]
) -> Result:
    """Response one question after the other, also with the error that came of it, and return what they lead to."""
    try:
        question = next(questions)
        while True:
            try:
                said = await answer(question)
            except PortkeyRequestError as error:
                question = questions.throw(error)
            else:
                question = questions.send(said)
    except StopIteration as end:
        result: Result = end.value
        return result
