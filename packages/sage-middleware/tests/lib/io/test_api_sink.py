import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import MappingProxyType

import pytest

from sage.api import LocalEnvironment
from sage.common.errors import ConfigError, TaskFailedError
from sage.lib.io.sink import APISink
from sage.lib.io.sink.api import DeliveryError
from sage.middleware.testing.sinks import SinkSuite


class Endpoint:
    """Takes batches; ``plan`` says what the next requests get instead."""

    def __init__(self):
        endpoint = self
        self.plan = []
        self.requests = []
        self.taken = {}
        self.lock = threading.Lock()

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self):
                body = self.rfile.read(int(self.headers["Content-Length"]))
                with endpoint.lock:
                    endpoint.requests.append((dict(self.headers), body))
                    step = endpoint.plan.pop(0) if endpoint.plan else 200
                    if step in (200, "lost"):
                        endpoint.taken.setdefault(self.headers["Idempotency-Key"], body)
                if step in ("drop", "lost"):
                    self.close_connection = True
                    self.connection.close()
                    return
                status, headers = step if isinstance(step, tuple) else (step, {})
                self.send_response(status)
                for name, value in headers.items():
                    self.send_header(name, value)
                text = b"ok" if status == 200 else b"because"
                self.send_header("Content-Length", str(len(text)))
                self.end_headers()
                self.wfile.write(text)

            def log_message(self, *args):
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.server.handle_error = lambda *args: None
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}/in"
        self.thread = threading.Thread(target=self.server.serve_forever, args=(0.01,))
        self.thread.start()

    def items(self):
        return [item for body in self.taken.values() for item in json.loads(body)]

    def close(self):
        self.server.shutdown()
        self.thread.join()
        self.server.server_close()


@pytest.fixture
def endpoint():
    running = Endpoint()
    yield running
    running.close()


class TestAPISink(SinkSuite):
    settings = MappingProxyType({})

    @pytest.fixture
    def make(self, endpoint):
        return lambda: APISink({"url": endpoint.url, **self.settings})

    @pytest.fixture
    def written(self, endpoint):
        return endpoint.items


class TestAPISinkByKey(TestAPISink):
    idempotent = True
    settings = MappingProxyType({"batch_size": 1, "wrap": "item", "key": "id"})

    @pytest.fixture
    def written(self, endpoint):
        return lambda: [json.loads(body)["item"] for body in endpoint.taken.values()]


def send(url, items, on_error=None, **options):
    env = LocalEnvironment("send")
    step = {} if on_error is None else {"on_error": on_error}
    env.from_collection(items).sink(APISink, {"url": url, "retry_base": 0.001, **options}, **step)
    job = env.submit()
    job.wait()
    return job


def test_items_arrive_once_in_batches(endpoint):
    items = [{"n": i, "text": "ü"} for i in range(200)]
    send(endpoint.url, items, batch_size=16)
    assert sorted(endpoint.items(), key=lambda item: item["n"]) == items
    assert len(endpoint.requests) < 100
    assert all(len(json.loads(body)) <= 16 for _, body in endpoint.requests)


def test_faults_are_retried_under_the_same_key(endpoint):
    endpoint.plan = [429, 503, "drop", "lost", (500, {"Retry-After": "0"})]
    send(endpoint.url, [{"n": i} for i in range(40)], requests=1)
    assert sorted(item["n"] for item in endpoint.items()) == list(range(40))
    keys = [headers["Idempotency-Key"] for headers, _ in endpoint.requests]
    assert keys[:6] == [keys[0]] * 6  # five faults and then the answer
    assert len({body for _, body in endpoint.requests}) == len(set(keys))


def test_a_refusal_is_not_retried_and_names_status_and_reason(endpoint):
    endpoint.plan = [400]
    with pytest.raises(TaskFailedError) as caught:
        send(endpoint.url + "?key=secret", [{"n": 1}])
    cause = caught.value.__cause__
    assert isinstance(cause, DeliveryError)
    assert cause.status == 400
    assert "because" in str(cause)
    assert "secret" not in str(cause)
    assert len(endpoint.requests) == 1


def test_a_batch_that_fails_for_good_leaves_the_others_alone(endpoint):
    endpoint.plan = [200, 422]
    job = send(endpoint.url, list(range(64)), on_error="skip", batch_size=8, requests=1)
    assert job.status == "FINISHED"
    assert len(endpoint.items()) == 64 - len(json.loads(endpoint.requests[1][1]))


def test_retries_end(endpoint):
    endpoint.plan = [503] * 10
    with pytest.raises(TaskFailedError, match="503"):
        send(endpoint.url, [1], max_retries=2)
    assert len(endpoint.requests) == 3
    endpoint.plan = [(429, {"Retry-After": "3600"})]
    with pytest.raises(TaskFailedError, match="429"):
        send(endpoint.url, [1])
    assert len(endpoint.requests) == 4


def test_the_longest_wait_that_a_server_may_ask_for(endpoint):
    endpoint.plan = [(429, {"Retry-After": "0.2"})]
    with pytest.raises(TaskFailedError, match="429"):
        send(endpoint.url, [1], max_retry_after=0.1)
    assert len(endpoint.requests) == 1
    endpoint.plan = [(429, {"Retry-After": "0.2"})]
    send(endpoint.url, [1], max_retry_after=0.3)
    assert len(endpoint.requests) == 3
    with pytest.raises(ConfigError, match="max_retry_after"):
        APISink({"url": endpoint.url, "max_retry_after": -1})


def test_the_header_has_the_name_that_is_set(endpoint):
    named = {"batch_size": 1, "key": "id"}
    for name in ("X-Request-Id", "", "Idempotency-Key"):
        send(endpoint.url, [{"id": 5}], idempotency_header=name, **named)
    first, without, usual = (headers for headers, _ in endpoint.requests)
    assert "Idempotency-Key" not in first
    assert first["X-Request-Id"] == usual["Idempotency-Key"]
    assert not {"X-Request-Id", "Idempotency-Key"} & set(without)


def test_equal_items_are_two_unless_a_key_says_otherwise(endpoint):
    send(endpoint.url, [{"id": 1}, {"id": 1}], batch_size=1)
    assert len(endpoint.taken) == 2
    for _ in range(2):
        send(endpoint.url, [{"id": 5, "n": 1}], batch_size=1, key="id")
    assert len(endpoint.taken) == 3
    with pytest.raises(TaskFailedError, match="no value for key"):
        send(endpoint.url, [{"n": 1}], key="id")


def test_redirects_are_not_followed(endpoint):
    endpoint.plan = [(302, {"Location": endpoint.url})]
    with pytest.raises(TaskFailedError, match="302"):
        send(endpoint.url, [1])


def test_shape_of_the_body_and_secrets(endpoint, monkeypatch):
    monkeypatch.setenv("API_TOKEN", "s3cret")
    send(endpoint.url, [{"n": 1}], batch_size=1, token="env:API_TOKEN", headers={"X-A": "b"})
    headers, body = endpoint.requests[0]
    assert json.loads(body) == {"n": 1}
    assert (headers["Authorization"], headers["X-A"]) == ("Bearer s3cret", "b")
    send(endpoint.url, [{"n": 1}], wrap="items")
    assert json.loads(endpoint.requests[1][1]) == {"items": [{"n": 1}]}
    assert "s3cret" not in repr(APISink({"url": endpoint.url, "token": "s3cret"}).config)


def test_settings_are_checked(context):
    with pytest.raises(ConfigError, match="http"):
        APISink({"url": "file:///etc/passwd"})
    with pytest.raises(ConfigError, match="NO_SUCH"):
        APISink({"url": "http://127.0.0.1:1/", "token": "env:NO_SUCH"}).open(context())


def test_an_endpoint_that_is_not_there(endpoint):
    endpoint.close()
    endpoint.close = lambda: None
    with pytest.raises(TaskFailedError, match="cannot be reached"):
        send(endpoint.url, [1], max_retries=1)
