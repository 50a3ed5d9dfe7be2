"""The memory server: every route is closed, errors are the same, mounting, limits, tokens."""

from __future__ import annotations

import http.client
import json
import re
import stat
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from sage.common.errors import AuthError, ConfigError, NotFoundError, UnreachableError
from sage.common.serving.guard import OPEN_PATHS
from sage.common.serving.listening import Address, running
from sage.common.serving.routing import all_routes
from sage.common.serving.tokens import FixedToken
from sage.middleware.services.memory import MemoryClient, MemoryManager, MemoryService
from sage.middleware.services.memory.errors import (
    CollectionExistsError,
    CollectionNotFoundError,
    DuplicateIdError,
    InvalidInputError,
    RowNotFoundError,
)
from sage.middleware.services.memory.memory_collection.graph_collection import (
    GraphMemoryCollection,
)
from sage.middleware.services.memory.rest.app import create_app
from sage.middleware.services.memory.rest.tokens import token_file

fastapi = pytest.importorskip("fastapi")
pytest.importorskip("uvicorn")
TOKEN = "a-token-for-these-tests"
MAX_BODY = 64 * 1024


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Any, MemoryService]]:
    directory = tmp_path_factory.mktemp("rest")
    with MemoryService(data_dir=str(directory), embedding_model="hash") as service:
        app = create_app(service, TOKEN, max_body=MAX_BODY)
        with running(app) as url:
            yield url, app, service


@pytest.fixture
def client(served: Any) -> Iterator[MemoryClient]:
    with MemoryClient(served[0], TOKEN) as client:
        yield client
        for collection in client.list_collections():
            if collection["name"] not in ("long_term", "tiers"):
                client.delete_collection(collection["name"])


def send(
    url: str, method: str, path: str, body: bytes = b"", **headers: str
) -> tuple[int, dict[str, str], bytes]:
    """One request as it is; ``headers`` with ``_`` for ``-``."""
    connection = http.client.HTTPConnection(urlsplit(url).netloc, timeout=30)
    try:
        given = {key.replace("_", "-"): value for key, value in headers.items()}
        connection.request(method, path, body or None, given)
        response = connection.getresponse()
        return response.status, dict(response.getheaders()), response.read()
    finally:
        connection.close()


BEARER = f"Bearer {TOKEN}"


def test_every_route_is_closed_without_a_token(served: Any) -> None:
    url, app, _ = served
    listed = all_routes(app)
    documented = {
        (method.upper(), path)
        for path, methods in app.openapi()["paths"].items()
        for method in methods
    }
    assert documented <= set(listed)
    assert len(documented) > 30
    extra = [("GET", "/"), ("GET", "/nothing"), ("GET", "/v1"), ("TRACE", "/v1/collections")]
    for method, path in [*listed, *extra]:
        concrete = re.sub(r"\{[^}]+\}", "x", path)
        for headers in (
            {},
            {"Authorization": "Bearer wrong-token-wrong-token"},
            {"Authorization": "Bearer "},
            {"Authorization": f"Basic {TOKEN}"},
            {"Authorization": TOKEN},
        ):
            status, answer, _ = send(url, method, concrete, **headers)
            if path in OPEN_PATHS and method in ("GET", "HEAD"):
                assert status == 200, (method, path)
            else:
                assert status == 401, (method, path, headers)
                assert answer["www-authenticate"] == "Bearer"


@pytest.mark.parametrize(
    "path",
    [
        "/xhealthz",
        "/healthz/",
        "//healthz",
        "/healthz/x",
        "/v1/collections/healthz",
        "/readyz.json",
        "/%68ealthz/..",
        "/v1/../healthz",
        "/healthz%2f",
        "/HEALTHZ",
    ],
)
def test_only_the_exact_health_paths_are_open(served: Any, path: str) -> None:
    status, _, _ = send(served[0], "GET", path)
    assert status == 401
    assert send(served[0], "POST", "/healthz")[0] == 401


def test_foreign_hosts_and_origins_are_refused(served: Any) -> None:
    url = served[0]
    netloc = urlsplit(url).netloc
    for host in ("evil.example", "127.0.0.1.evil.example", "evil.example:80", "", "[::2]:1"):
        assert send(url, "GET", "/v1/collections", Authorization=BEARER, Host=host)[0] == 400
        assert send(url, "GET", "/healthz", Host=host)[0] == 400
    assert send(url, "GET", "/v1/collections", Authorization=BEARER, Host="localhost:1")[0] == 200
    for method in ("POST", "PUT", "PATCH", "DELETE"):
        for origin in ("http://evil.example", "null", f"http://{netloc}.evil.example", "file://"):
            status, _, _ = send(
                url, method, "/v1/collections/x", Authorization=BEARER, Origin=origin
            )
            assert status == 403, (method, origin)
    same = f"http://{netloc}"
    status, _, _ = send(url, "DELETE", "/v1/collections/x", Authorization=BEARER, Origin=same)
    assert status == 404
    _, headers, _ = send(
        url, "GET", "/v1/collections", Authorization=BEARER, Origin="http://evil.example"
    )
    assert "access-control-allow-origin" not in {key.lower() for key in headers}


def test_bodies_have_a_bound_with_and_without_a_length(served: Any) -> None:
    url = served[0]
    large = b'{"name": "' + b"x" * MAX_BODY + b'"}'
    json_type = {"Authorization": BEARER, "Content_Type": "application/json"}
    assert send(url, "POST", "/v1/collections", large, **json_type)[0] == 413
    connection = http.client.HTTPConnection(urlsplit(url).netloc, timeout=30)
    try:
        connection.request(
            "POST",
            "/v1/collections",
            iter([large[:40_000], large[40_000:]]),
            {"Authorization": BEARER, "Content-Type": "application/json"},
            encode_chunked=True,
        )
        assert connection.getresponse().status == 413
    finally:
        connection.close()


@pytest.mark.parametrize(
    "name",
    ["..", "../x", "%2e%2e", "..%2f..%2fetc", "/etc", "a/b", "a%00b", "C:x", ".hidden", "x" * 300],
)
def test_names_never_become_paths(served: Any, client: MemoryClient, name: str) -> None:
    url, _, service = served
    before = sorted(p.name for p in Path(service.data_dir).parent.iterdir())
    for method in ("GET", "DELETE", "PATCH"):
        body = b'{"new_name": "y"}' if method == "PATCH" else b""
        status, _, _ = send(
            url,
            method,
            f"/v1/collections/{name}",
            body,
            Authorization=BEARER,
            Content_Type="application/json",
        )
        assert status in (404, 405, 422), (method, status)
    body = json.dumps({"name": name, "backend_type": "KV"}).encode()
    status, _, _ = send(
        url,
        "POST",
        "/v1/collections",
        body,
        Authorization=BEARER,
        Content_Type="application/json",
    )
    assert status == 422
    assert sorted(p.name for p in Path(service.data_dir).parent.iterdir()) == before
    with pytest.raises((InvalidInputError, ValueError)):
        client.delete_collection(name)


def test_errors_arrive_as_what_they_were(served: Any, client: MemoryClient) -> None:
    collection = client.create_collection("a", dim=2)
    with pytest.raises(CollectionExistsError, match="'a'"):
        client.create_collection("a", dim=2)
    with pytest.raises(CollectionNotFoundError) as caught:
        client.connect_collection("b")
    assert caught.value.name == "b"
    assert caught.value.known == ("a",)
    assert served[2].data_dir not in str(caught.value)
    collection.insert("x", id="1", vector=[1, 0])
    with pytest.raises(DuplicateIdError) as duplicate:
        collection.insert("x", id="1", vector=[1, 0])
    assert duplicate.value.ids == ("1",)
    with pytest.raises(RowNotFoundError):
        collection.delete("2")
    with pytest.raises(AuthError, match="SAGE_MEMORY_TOKEN"):
        MemoryClient(served[0], "x" * 20).list_collections()


def test_malformed_requests_are_said_and_never_echoed(served: Any) -> None:
    url = served[0]
    for body in (b"", b"[]", b"{", b'{"name": 1}', b'{"name": "x", "nme": "y"}', b"\xff"):
        status, _, answer = send(
            url,
            "POST",
            "/v1/collections",
            body,
            Authorization=BEARER,
            Content_Type="application/json",
        )
        assert status in (400, 422), body
        assert json.loads(answer)["error"]["type"] == "InvalidInputError"
    secret = b'{"name": {"password": "hunter2hunter2"}}'
    _, _, answer = send(
        url,
        "POST",
        "/v1/collections",
        secret,
        Authorization=BEARER,
        Content_Type="application/json",
    )
    assert b"hunter2" not in answer


def test_clients_choose_no_files_and_no_addresses(client: MemoryClient) -> None:
    for model in (
        "openai",
        {"name": "hf", "model": "/etc"},
        {"name": "openai", "base_url": "http://169.254.169.254"},
        {"name": "hash", "cache_path": "/tmp/x"},
        {"name": "minilm", "path": "/etc"},
    ):
        with pytest.raises(InvalidInputError):
            client.create_collection("m", embedding_model=model)
    with pytest.raises(InvalidInputError, match="busy_timeout"):
        client.create_collection("m", dim=2, busy_timeout=1e9)
    collection = client.create_collection("m", embedding_model={"name": "hash", "dim": 64})
    collection.insert("x")
    with pytest.raises(InvalidInputError, match="at most"):
        collection.retrieve("x", topk=10**6)


def test_keys_and_graphs_work_through_the_client(client: MemoryClient, tmp_path: Path) -> None:
    kv = client.create_collection("kv", "KV", "keys")
    kv.put("a/1", {"x": [1, None, "ü"]})
    kv.put("gone", 1, ttl=1e-6)
    assert kv["a/1"] == {"x": [1, None, "ü"]}
    assert kv.get("nobody", "default") == "default"
    with pytest.raises(RowNotFoundError):
        kv["nobody"]
    assert kv.put_many({f"n/{i:03d}": i for i in range(25)}) == 25
    assert list(kv.scan("n/", limit=3)) == [("n/000", 0), ("n/001", 1), ("n/002", 2)]
    assert kv.count("n/") == 25
    assert kv.update("n/000", lambda value: value + 10) == 10
    assert not kv.compare_and_set("n/000", 0, 5)
    assert kv.delete("n/001")
    assert kv.delete_prefix("n/") == 24
    kv.create_index(fields=["title"])
    kv.put("t", {"title": "green tea"})
    assert [hit["key"] for hit in kv.search("tea")] == ["t"]
    assert kv.export_jsonl(tmp_path / "kv.jsonl") == len(kv)
    other = client.create_collection("kv2", "KV")
    assert other.import_jsonl(tmp_path / "kv.jsonl") == len(kv)
    assert other["a/1"] == kv["a/1"]
    assert kv.forget(["t"]) == 1
    with pytest.raises(InvalidInputError, match="no method"):
        kv._call("close")
    with pytest.raises(InvalidInputError, match="no method"):
        kv._call("export_jsonl", "/tmp/x")
    graph = client.create_collection("g", "Graph")
    graph.add_node("a", properties={"name": "Anna"})
    graph.add_node("b", properties={"name": "Bob"})
    graph.add_edge("a", "b", "knows")
    assert graph.get_node("a")["properties"] == {"name": "Anna"}
    assert len(graph) == 2


def test_a_batch_over_the_network_happens_whole_or_not_at_all(client: MemoryClient) -> None:
    kv = client.create_collection("kv", "KV")
    kv.put("gone", 1)
    with kv.batch() as batch:
        batch.put("a", {"x": None}).put("b", 2, ttl=3600).delete("gone").delete("never there")
        assert len(batch) == 4
        assert "a" not in kv
    assert dict(kv.scan()) == {"a": {"x": None}, "b": 2}
    assert 3500 < kv.ttl("b") <= 3600
    half = kv.batch()
    with pytest.raises(ZeroDivisionError), half:
        half.put("a", 1 / len(half))
    assert not len(half)
    with pytest.raises(InvalidInputError, match="ttl"), kv.batch() as bad:
        bad.put("c", 1, ttl=-1)
    for wrong in (["drop", "a"], ["put", "a"], ["put", 3, 1], "put", ["put", "a", 1, -1]):
        with pytest.raises(InvalidInputError):
            kv._call("batch", [["put", "a", "half"], wrong])
    assert kv["a"] == {"x": None}
    kv.batch().commit()  # nothing to do


def test_a_graph_is_that_of_the_local_collection(client: MemoryClient, tmp_path: Path) -> None:
    local = GraphMemoryCollection.create(tmp_path, name="g")
    remote = client.create_collection("g", "Graph")
    answers = []
    for graph in (local, remote):
        assert graph.add_nodes([1, ("b", {"about": "rivers"}), ("c", {}, "place")]) == 3
        graph.add_edge(1, "b", "to", weight=2.0, properties={"since": 1})
        graph.add_edges([("b", "c"), {"source": "c", "target": 1, "type": "to"}])
        graph.upsert_node("c", about="lakes")
        graph.upsert_edge("c", "d", create_missing=True)
        graph.create_index(fields=["about"])
        found = graph.subgraph("rivers", topk=1)
        answers.append(
            [
                list(graph.nodes()), list(graph.nodes("place")), list(graph.edges()),
                list(graph.edges(type="to")), list(graph.edges(source="b")),
                graph.get_edge(1, "b", "to"), graph.has_edge(1, "c"), graph.edge_count(),
                1 in graph, "1" in graph, graph.degree("c"), graph.neighbors(1),
                graph.neighbors(1, type={"to", "no"}), graph.k_hop(1, 3),
                graph.shortest_path(1, "d", weighted=True), graph.shortest_path("d", 1),
                graph.pagerank({1: 1.0, "b": 3.0}), graph.pagerank(1, topk=2),
                found.nodes, found.edges, found.entries, graph.search("lakes"),
                graph.retrieve("lakes", 2), graph.check(), graph.optimize()["rows"],
                graph.remove_edge("b", "c"), graph.remove_node("d"), graph.forget(["b"]),
                graph.remove_nodes(["c", "no"]), len(graph),
            ]
        )  # fmt: skip
        with pytest.raises(RowNotFoundError, match="'nobody'"):
            graph.k_hop("nobody")
    for mine, theirs in zip(*answers, strict=True):
        assert mine == theirs
    local.close()


def test_the_remote_collections_have_what_the_local_ones_have(
    client: MemoryClient, tmp_path: Path
) -> None:
    """All public names but those of the files on this machine."""
    files = {"clear", "connect", "create", "destroy", "path", "finish_forgetting", "use_model"}
    local_only = {"VDB": {"settings"}, "KV": set(), "Graph": set()}
    with MemoryManager(tmp_path) as manager:
        for kind, extra in local_only.items():
            local = manager.create_collection(kind, kind)
            remote = client.create_collection(kind, kind)
            missing = {n for n in dir(local) if not n.startswith("_")} - set(dir(remote))
            assert missing == (files | extra) & set(dir(local)), kind
        assert {n for n in dir(manager) if not n.startswith("_")} <= set(dir(client))


def test_upkeep_over_http(client: MemoryClient) -> None:
    rows = client.create_collection("u", embedding_model="hash")
    rows.insert_many(["a", "b", "c"], ids=["1", "2", "3"])
    rows.set_retention(max_rows=2)
    assert rows.apply_retention(forget=True) == 0
    assert [row["id"] for row in rows.scan()] == ["2", "3"]
    assert rows.repair() == 0
    with pytest.raises(InvalidInputError, match="callable"):
        rows.attach_filter("x", bool)


def test_an_answer_that_is_too_long_is_an_error(client: MemoryClient) -> None:
    graph = client.create_collection("star", "Graph")
    for start in range(1, 10_003, 1000):
        ends = range(start, min(start + 1000, 10_003))
        graph.add_edges([(0, end) for end in ends], create_missing=True)
    with pytest.raises(InvalidInputError, match="more than 10,000"):
        list(graph.edges(source=0))
    assert sum(1 for _ in graph.edges()) == 10_002


def test_federated_search_sessions_and_memories(client: MemoryClient) -> None:
    for name in ("one", "two"):
        client.create_collection(name, embedding_model="hash").insert(f"tea of {name}", id=name)
    found = client.search(["one", "two"], "tea of two", topk=2)
    assert [hit["id"] for hit in found] == ["two", "one"]
    client.clear_session("s")
    client.add_turn("s", "user", "hello", turn_id="1")
    client.add_turn("s", "user", "hello", turn_id="1")
    assert client.history("s")["messages"] == [{"role": "user", "content": "hello"}]
    assert client.list_sessions() == ["s"]
    old = client.remember("Bea lives in Rome", provenance={"session": "s"}, valid_from=10.0)
    new = client.supersede(old["id"], "Bea lives in Turin", at=20.0)
    assert [h["id"] for h in client.recall("where does Bea live", session="s")] == [new["id"]]
    assert [h["id"] for h in client.recall("where does Bea live", as_of=15.0)] == [old["id"]]
    assert client.remember("Bea lives in Turin", provenance={"session": "s"})["status"] == "refused"
    assert client.get_collection("long_term").forget({"_session": "s"}) == 1


def test_streams_end_where_the_reader_stops(tmp_path: Path) -> None:
    with MemoryService(data_dir=str(tmp_path / "m")) as service:
        with running(create_app(service, TOKEN)) as url, MemoryClient(url, TOKEN) as client:
            rows = client.create_collection("rows", embedding_model=None)
            rows.insert_many([f"text {i} " + "x" * 3000 for i in range(3000)])
            reading = rows.scan()
            assert next(reading)["text"].startswith("text 0 ")
            assert sum(1 for _ in reading) == 2999
            assert len(list(rows.scan(limit=5))) == 5
            stopped = rows.scan()
            next(stopped)
            stopped.close()
            assert rows.forget({"nobody": 1}) == 0  # no scan holds the old state any more
        with pytest.raises(UnreachableError, match="sage memory serve"):
            rows.count()
        target = tmp_path / "kept.jsonl"
        target.write_text("before")
        with pytest.raises(UnreachableError):
            rows.export_jsonl(target)
        assert target.read_text() == "before"


def test_one_client_serves_many_threads(client: MemoryClient) -> None:
    collection = client.create_collection("threads", embedding_model={"name": "hash", "dim": 64})
    failures: list[BaseException] = []

    def work(number: int) -> None:
        try:
            for i in range(20):
                collection.insert(f"text {number} {i}")
                collection.retrieve(f"text {number} {i}", topk=1)
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=work, args=(n,)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures
    assert len(collection) == 160


def test_mounted_into_another_application(tmp_path: Path) -> None:
    outer = fastapi.FastAPI()

    @outer.get("/jobs")
    def jobs() -> list[str]:
        return ["a job"]

    with MemoryService(data_dir=str(tmp_path), embedding_model="hash") as service:
        outer.mount("/memory", create_app(service, authenticate=lambda t: t == TOKEN, hosts=None))
        with running(outer) as url:
            assert send(url, "GET", "/jobs")[0] == 200
            assert send(url, "GET", "/memory/healthz")[0] == 200
            for path in ("/memory/v1/collections", "/memory/openapi.json", "/memory/healthz/x"):
                assert send(url, "GET", path)[0] == 401
            with MemoryClient(f"{url}/memory", TOKEN) as client:
                client.create_collection("x", embedding_model="hash").insert("mounted")
                assert client.get_collection("x").retrieve("mounted")[0]["text"] == "mounted"


def test_tokens_are_hashes_in_a_private_file(tmp_path: Path) -> None:
    file = tmp_path / "deep" / "tokens.json"
    tokens = token_file(file)
    assert tokens.names() == []
    assert not tokens.accepts("")
    first, second = tokens.new(), tokens.new("ci")
    assert first != second
    assert len(first) > 40
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    text = file.read_text()
    assert first not in text
    assert first.removeprefix("sagemem_") not in text
    again = token_file(file)
    assert again.accepts(first)
    assert again.accepts(second)
    assert not again.accepts(first[:-1])
    with pytest.raises(ConfigError, match="already"):
        tokens.new("ci")
    tokens.revoke("ci")
    assert not again.accepts(second)
    with pytest.raises(NotFoundError, match="'ci'"):
        tokens.revoke("ci")
    file.write_text("{}")
    with pytest.raises(ConfigError, match="not a file of tokens"):
        tokens.accepts(first)
    with pytest.raises(ConfigError, match="16 characters"):
        FixedToken("short")


def test_open_networks_need_tls_or_a_word(tmp_path: Path) -> None:
    for host in ("0.0.0.0", "::", "192.168.1.4", "example.org"):
        with pytest.raises(ConfigError, match="token"):
            Address(host=host).check()
        Address(host=host, plaintext=True).check()
        Address(host=host, certfile=tmp_path / "c", keyfile=tmp_path / "k").check()
    for host in ("127.0.0.1", "localhost", "::1", "127.9.9.9"):
        Address(host=host).check()
    with pytest.raises(ConfigError, match="give both"):
        Address(certfile=tmp_path / "c").check()
    with pytest.raises(ConfigError, match="exactly one"):
        create_app(None)  # type: ignore[arg-type]


def test_a_client_needs_a_token_and_an_address(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SAGE_MEMORY_TOKEN", raising=False)
    with pytest.raises(AuthError, match="SAGE_MEMORY_TOKEN"):
        MemoryClient("http://127.0.0.1:1")
    with pytest.raises(ConfigError, match="expected http"):
        MemoryClient("127.0.0.1:1", TOKEN)
    client = MemoryClient("http://127.0.0.1:1", TOKEN)
    assert TOKEN not in repr(client)
    with pytest.raises(UnreachableError, match="no answer"):
        client.list_collections()
