from __future__ import annotations

import asyncio
import threading
from contextvars import ContextVar, copy_context
from typing import TYPE_CHECKING, Any

import pytest
from asgiref.sync import sync_to_async
from blinker import Namespace
from flask import (
    Blueprint,
    Flask,
    Response,
    abort,
    current_app,
    g,
    got_request_exception,
    render_template_string,
    request,
    request_finished,
    request_started,
    request_tearing_down,
    session,
)
from flask.views import MethodView, View

from tests.core.support import BEGIN, LIMIT, Worker
from wsgi_async import get_or_create_loop_manager, loop_from, run, scope_from
from wsgi_async.core.base.deadlines import request_deadline
from wsgi_async.integrations.flask import AsyncLoop, current_loop

if TYPE_CHECKING:
    from concurrent.futures import Future

variable: ContextVar[str] = ContextVar("variable", default="unset")


@pytest.fixture
def app() -> Flask:
    made = Flask(__name__)
    made.secret_key = "test"
    AsyncLoop(made)
    return made


def get(app: Flask, path: str = "/", **options: Any) -> Any:
    return app.test_client().get(path, **options)


def place() -> tuple[int, int]:
    """Which thread, and which loop."""
    return threading.get_ident(), id(asyncio.get_running_loop())


# -- views ---------------------------------------------------------------------------------------


def test_async_views_run_on_one_thread_and_their_loop_stays(
    app: Flask, worker: Worker, runner: str
) -> None:
    """What one request opened on the loop the next can use; the loop may be the worker's own."""
    places: list[tuple[int, int]] = []

    @app.get("/")
    async def index() -> str:
        await asyncio.sleep(0)
        places.append(place())
        return "ok"

    for _ in range(3):
        assert worker.call(get, app).text == "ok"
    assert places == [places[0]] * 3
    assert (places[0][0] == worker.thread.ident) == (runner == "resident")


def test_each_worker_thread_has_its_own_loop(app: Flask) -> None:
    """Two requests at the same time are on two loops."""
    both_are_here = threading.Barrier(2)
    places: list[tuple[int, int]] = []

    @app.get("/")
    async def index() -> str:
        both_are_here.wait(LIMIT)
        places.append(place())
        return "ok"

    with Worker() as one, Worker() as other:
        for future in [one.begin(get, app), other.begin(get, app)]:
            assert future.result(LIMIT).text == "ok"
    (thread, loop), (other_thread, other_loop) = places
    assert thread != other_thread
    assert loop != other_loop


def test_a_view_in_the_main_thread_works_too(app: Flask) -> None:
    """A test client answers in the test's own thread."""

    @app.get("/")
    async def index() -> str:
        await asyncio.sleep(0)
        return request.path

    assert get(app).text == "/"


def test_a_task_left_behind_survives_the_view(app: Flask, worker: Worker) -> None:
    """What an async view submits, or starts as a plain task, is finished after its response."""
    go_on: list[asyncio.Event] = []
    left: list[Future[str] | asyncio.Task[str]] = []

    async def background() -> str:
        await go_on[0].wait()
        return request.path  # context variables stay

    @app.get("/leave")
    async def leave() -> str:
        go_on.append(asyncio.Event())
        left.append(current_loop.submit_task(background()))
        left.append(asyncio.create_task(background()))
        return "left"

    @app.get("/collect")
    async def collect() -> list[str]:
        submitted, task = left
        assert not submitted.done()
        go_on[0].set()
        return [await asyncio.wrap_future(submitted), await task]  # type: ignore[misc]

    assert worker.call(get, app, "/leave").text == "left"
    assert worker.call(get, app, "/collect").json == ["/leave", "/leave"]


def test_async_code_sees_the_request_and_what_it_sets_is_seen(app: Flask, worker: Worker) -> None:
    """request, session, g and context variables go in and come back."""

    @app.before_request
    def before() -> None:
        variable.set("before")
        g.trail = ["before"]

    @app.get("/<name>")
    async def index(name: str) -> str:
        await asyncio.sleep(0)
        g.trail += [name, variable.get(), request.args["q"], current_app.name]
        session["user"] = name
        variable.set("view")
        return "ok"

    @app.after_request
    def after(response: Response) -> Response:
        response.headers["X-Trail"] = ",".join([*g.trail, variable.get()])
        return response

    response = worker.call(get, app, "/ann?q=1")
    assert response.headers["X-Trail"] == f"before,ann,before,1,{__name__},view"
    assert "session=" in response.headers["Set-Cookie"]
    assert worker.call(variable.get) == "unset"


def test_class_based_views_are_async(app: Flask) -> None:
    """View.dispatch_request, and each method of a MethodView, may be `async def`."""

    class Plain(View):
        async def dispatch_request(self) -> str:  # type: ignore[override]
            await asyncio.sleep(0)
            return "plain"

    class Methods(MethodView):
        async def get(self) -> str:
            await asyncio.sleep(0)
            return "got"

        async def post(self) -> str:
            await asyncio.sleep(0)
            return "posted " + request.form["text"]

    app.add_url_rule("/plain", view_func=Plain.as_view("plain"))
    app.add_url_rule("/methods", view_func=Methods.as_view("methods"))
    assert get(app, "/plain").text == "plain"
    assert get(app, "/methods").text == "got"
    assert app.test_client().post("/methods", data={"text": "it"}).text == "posted it"


def test_sync_views_find_the_loop_too(app: Flask, worker: Worker) -> None:
    """current_loop is the manager in the environ, in sync code as in coroutines."""

    async def same() -> bool:
        return current_loop == loop_from(request.environ)

    @app.get("/")
    def index() -> list[bool]:
        return [current_loop == loop_from(request.environ), current_loop.run(same(), timeout=5)]

    assert worker.call(get, app).json == [True, True]


def test_sync_to_async_runs_on_the_worker_thread(app: Flask, worker: Worker) -> None:
    """A database connection that belongs to the thread can be used from an async view."""

    def sync_code() -> list[Any]:
        return [threading.get_ident(), request.path]

    @app.get("/")
    async def index() -> list[Any]:
        return await sync_to_async(sync_code)()

    assert worker.call(get, app).json == [worker.thread.ident, "/"]


def test_it_uses_the_manager_of_the_options(app: Flask, worker: Worker) -> None:
    """Options go to the middleware, and async views run on the manager that those describe."""
    with_options = Flask(__name__)
    made: list[asyncio.AbstractEventLoop] = []

    def make_loop() -> asyncio.AbstractEventLoop:
        made.append(asyncio.new_event_loop())
        return made[-1]

    AsyncLoop(with_options, id="reports", loop_factory=make_loop)

    @with_options.get("/")
    async def index() -> list[Any]:
        manager = get_or_create_loop_manager("reports", strictly_get=True)
        return [
            manager.get_event_loop() is asyncio.get_running_loop(),
            asyncio.get_running_loop() is made[-1],
            current_loop.id,
        ]

    assert worker.call(get, with_options).json == [True, True, "reports"]


# -- hooks ---------------------------------------------------------------------------------------


def test_every_kind_of_hook_may_be_async(app: Flask, worker: Worker) -> None:
    """All functions that Flask calls around a view run on the same loop as the view."""
    trail: list[str] = []
    loops: set[int] = set()

    async def note(what: str) -> None:
        await asyncio.sleep(0)
        trail.append(what)
        loops.add(id(asyncio.get_running_loop()))

    @app.url_value_preprocessor
    def values(*_: object) -> None:
        trail.append("values")  # Flask has no async ones

    @app.before_request
    async def before() -> None:
        await note("before")

    @app.context_processor
    async def in_templates() -> dict[str, str]:
        await note("template")
        return {"who": "world"}

    @app.after_request
    async def after(response: Response) -> Response:
        await note("after")
        return response

    @app.teardown_request
    async def teardown(_: BaseException | None) -> None:
        await note("teardown " + request.path)

    @app.teardown_appcontext
    async def teardown_app(_: BaseException | None) -> None:
        await note("teardown app")

    @app.get("/")
    def index() -> str:
        current_loop.run(note("view"))
        # In sync code: a coroutine cannot wait for the template's own coroutine.
        return render_template_string("hello {{ who }}")

    assert worker.call(get, app).text == "hello world"
    expected = ["values", "before", "view", "template", "after", "teardown /", "teardown app"]
    assert trail == expected
    assert len(loops) == 1


def test_async_error_handlers_answer(app: Flask, worker: Worker) -> None:
    """For exceptions of async views, HTTP errors and those that nobody handles."""

    @app.get("/<name>")
    async def fail(name: str) -> str:
        await asyncio.sleep(0)
        if name == "gone":
            abort(410)
        raise {"value": ValueError, "key": KeyError}[name](name)

    @app.errorhandler(ValueError)
    async def value(error: ValueError) -> tuple[str, int]:
        await asyncio.sleep(0)
        return f"value {error}", 400

    @app.errorhandler(410)
    async def gone(error: Exception) -> tuple[str, int]:
        await asyncio.sleep(0)
        return "gone for good", 410

    @app.errorhandler(500)
    async def failed(error: Any) -> tuple[str, int]:
        await asyncio.sleep(0)
        return type(error.original_exception).__name__, 500

    answers = [worker.call(get, app, path) for path in ("/value", "/gone", "/key")]
    assert [(answer.status_code, answer.text) for answer in answers] == [
        (400, "value value"),
        (410, "gone for good"),
        (500, "KeyError"),
    ]


def test_sync_to_async_in_an_error_handler_runs_on_the_worker_thread(
    app: Flask, worker: Worker
) -> None:
    """Though that thread is handling the exception meanwhile."""

    @app.get("/")
    async def index() -> str:
        raise ValueError

    @app.errorhandler(ValueError)
    async def handle(_: ValueError) -> list[int]:
        return [await sync_to_async(threading.get_ident)()]

    assert worker.call(get, app).json == [worker.thread.ident]


def test_an_http_error_without_a_handler_is_its_own_answer(app: Flask) -> None:
    """abort() in an async view is an answer, not a failure."""

    @app.get("/")
    async def teapot() -> str:
        await asyncio.sleep(0)
        abort(418)

    assert get(app).status_code == 418


def test_an_exception_reaches_a_test_as_it_was_raised(app: Flask, worker: Worker) -> None:
    """With TESTING set, the client raises the view's own exception, with its traceback."""
    app.testing = True

    @app.get("/")
    async def fail_here() -> str:
        raise ValueError("mine")

    with pytest.raises(ValueError, match=r"^mine$") as caught:
        worker.call(get, app)
    assert caught.traceback[-1].name == "fail_here"


def test_nested_blueprints_have_async_views_and_hooks(app: Flask) -> None:
    """Blueprints need nothing of their own."""
    outer, inner = Blueprint("outer", __name__), Blueprint("inner", __name__)
    trail: list[str] = []

    @outer.before_request
    async def before_outer() -> None:
        trail.append("outer")

    @inner.before_request
    async def before_inner() -> None:
        trail.append("inner")

    @inner.errorhandler(ValueError)
    async def handle(error: ValueError) -> tuple[str, int]:
        await asyncio.sleep(0)
        return f"handled in {request.blueprint}", 400

    @inner.get("/view")
    async def view() -> str:
        await asyncio.sleep(0)
        raise ValueError

    outer.register_blueprint(inner, url_prefix="/inner")
    app.register_blueprint(outer, url_prefix="/outer")
    assert get(app, "/outer/inner/view").text == "handled in outer.inner"
    assert trail == ["outer", "inner"]


def test_signals_reach_async_receivers(app: Flask, worker: Worker) -> None:
    """Receivers of Flask's signals, and of your own, may be `async def`."""
    mine = Namespace().signal("mine")
    trail: list[str] = []

    def receiver(name: str) -> Any:
        async def receive(sender: Flask, **_: object) -> None:
            await asyncio.sleep(0)
            here = current_loop.get_event_loop() is asyncio.get_running_loop()
            trail.append(f"{name} {request.path} {here}")

        return receive

    @app.get("/")
    def index() -> str:
        mine.send(app, _async_wrapper=app.ensure_sync)
        raise ZeroDivisionError

    signals = {
        "started": request_started,
        "mine": mine,
        "failed": got_request_exception,
        "finished": request_finished,
        "over": request_tearing_down,
    }
    receivers = {name: receiver(name) for name in signals}
    for name, signal in signals.items():
        signal.connect(receivers[name], app)
    assert worker.call(get, app).status_code == 500
    assert trail == [f"{name} / True" for name in signals]


# -- after the deadline --------------------------------------------------------------------------


def test_async_hooks_run_after_the_deadline() -> None:
    """A view that used up its time is answered for, and cleaned up after, by async functions."""
    trail = []
    app = Flask(__name__)
    AsyncLoop(app, timeout=0.01)

    @app.get("/async")
    async def slow() -> str:
        await asyncio.sleep(60)
        return "never"

    @app.get("/sync")
    def blocking() -> str:
        with pytest.raises(TimeoutError):
            current_loop.run(asyncio.sleep(60))  # as a blocking call, it uses up the time
        return "the report"

    @app.errorhandler(TimeoutError)
    async def too_slow(error: TimeoutError) -> tuple[str, int]:
        await asyncio.sleep(0)
        return "too slow", 504

    @app.after_request
    async def after(response: Response) -> Response:
        await asyncio.sleep(0)
        response.headers["X-After"] = "yes"
        return response

    @app.teardown_request
    async def give_back(error: BaseException | None) -> None:
        await asyncio.sleep(0)
        trail.append("request")

    @app.teardown_appcontext
    async def close(error: BaseException | None) -> None:
        await asyncio.sleep(0)
        trail.append("app")

    for path, status, text in (("/async", 504, "too slow"), ("/sync", 200, "the report")):
        response = get(app, path)
        assert (response.status_code, response.text) == (status, text)
        assert response.headers["X-After"] == "yes"
    assert trail == ["request", "app"] * 2


def test_a_cleanup_after_the_deadline_is_bounded() -> None:
    """An async function that never ends is canceled after `grace`."""
    canceled = threading.Event()
    app = Flask(__name__)
    app.testing = True
    AsyncLoop(app, timeout=0.01, grace=BEGIN)

    @app.get("/")
    async def slow() -> str:
        await asyncio.sleep(60)
        return "never"

    @app.errorhandler(TimeoutError)
    async def too_slow(error: TimeoutError) -> str:
        try:
            await asyncio.sleep(60)
        finally:
            canceled.set()
        return "never"

    with pytest.raises(TimeoutError):
        get(app)
    assert canceled.is_set()


def test_the_time_of_hooks_is_the_requests_own() -> None:
    """A hook can shorten it, take it away, and pass it to a thread that outlives the request."""
    answers: list[str] = []
    go_on = threading.Event()
    app = Flask(__name__)
    AsyncLoop(app, timeout=0.05)

    def later() -> None:
        assert go_on.wait(LIMIT)
        answers.append(run(asyncio.sleep(0, "sent")))

    threads: list[threading.Thread] = []

    @app.get("/")
    def index() -> str:
        return "page"

    @app.after_request
    def after(response: Response) -> Response:
        scope = scope_from(request)
        with pytest.raises(TimeoutError), scope.timeout(0.01):
            current_loop.run(asyncio.sleep(LIMIT))
        threads.append(threading.Thread(target=copy_context().run, args=(later,)))
        threads[0].start()
        scope.no_timeout()
        assert request_deadline.get().left() is None  # type: ignore[union-attr]
        return response

    assert get(app).text == "page"
    go_on.set()
    threads[0].join(LIMIT)
    assert answers == ["sent"]
