"""HuggingFaceGenerator on a tiny model made here."""

import json
import os
import subprocess
import sys

import pytest

from sage.api import LocalEnvironment
from sage.common.errors import ConfigError
from sage.lib.errors import ItemError
from sage.lib.rag.generator import HuggingFaceGenerator
from sage.lib.testing.generators import GeneratorSuite

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")

WORDS = ["<pad>", "<unk>", "<eos>", "user", ":", "a", "b", "c", "d", "e"]
CHAT = (
    "{% for m in messages %}{{ m.role }} : {{ m.content }} {% endfor %}"
    "{% if add_generation_prompt %}:{% endif %}"
)


def make_model(folder, seed, positions=64):
    from tokenizers import Tokenizer
    from tokenizers.models import WordLevel
    from tokenizers.pre_tokenizers import Whitespace
    from transformers import GPT2Config, GPT2LMHeadModel, PreTrainedTokenizerFast

    backend = Tokenizer(WordLevel({w: n for n, w in enumerate(WORDS)}, unk_token="<unk>"))
    backend.pre_tokenizer = Whitespace()
    PreTrainedTokenizerFast(
        tokenizer_object=backend, unk_token="<unk>", pad_token="<pad>", eos_token="<eos>"
    ).save_pretrained(folder)
    torch.manual_seed(seed)
    GPT2LMHeadModel(
        GPT2Config(
            vocab_size=len(WORDS),
            n_positions=positions,
            n_embd=16,
            n_layer=1,
            n_head=2,
            eos_token_id=2,
            bos_token_id=2,
            pad_token_id=0,
        )
    ).save_pretrained(folder)
    return str(folder)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return make_model(tmp_path_factory.mktemp("model"), 5)


@pytest.fixture(scope="module")
def wide(tmp_path_factory):
    return make_model(tmp_path_factory.mktemp("wide"), 5, positions=4096)


class TestHuggingFaceGenerator(GeneratorSuite):
    @pytest.fixture(autouse=True)
    def model(self, wide):
        self.folder = wide

    def make(self, **settings):
        own = {"model": self.folder, "max_tokens": 4, "local_files_only": True}
        return HuggingFaceGenerator({**own, **settings})


def opened(context, **settings):
    operator = HuggingFaceGenerator({"local_files_only": True, **settings})
    operator.open(context())
    return operator


def test_a_batch_answers_as_its_items_alone(folder, context):
    operator = opened(context, model=folder, max_tokens=6)
    items = ["a b c d e a b c", "a", "d e"]
    together = operator.execute_batch(items)
    alone = [operator.execute(item) for item in items]
    assert [a.text for a in together] == [a.text for a in alone]
    assert [a.usage for a in together] == [a.usage for a in alone]
    assert [a.query.text for a in together] == items
    assert [a.usage.input_tokens for a in together] == [8, 1, 2]
    assert all(a.cost is None for a in together)
    operator.close()


def test_it_says_what_the_model_says(folder, context):
    from transformers import AutoModelForCausalLM

    operator = opened(context, model=folder, max_tokens=5)
    answer = operator.execute("a b")
    model = AutoModelForCausalLM.from_pretrained(folder)
    ids = [5, 6]
    for _ in range(5):
        ids.append(int(model(torch.tensor([ids])).logits[0, -1].argmax()))
        if ids[-1] == 2:
            break
    assert answer.text == " ".join(WORDS[i] for i in ids[2:] if i > 2)
    assert answer.finish_reason == ("stop" if ids[-1] == 2 else "length")
    operator.close()


def test_sampling_has_a_seed(folder, context):
    texts = []
    for seed in (1, 1, 2):
        operator = opened(context, model=folder, max_tokens=12, temperature=5.0, seed=seed)
        torch.rand(3)  # what others draw changes nothing
        texts.append(operator.execute("a b").text)
        operator.close()
    assert texts[0] == texts[1] != texts[2]


def test_the_chat_template_is_used(folder, context):
    operator = opened(context, model=folder, max_tokens=2)
    plain = operator.execute("a b")
    operator._tokenizer.chat_template = CHAT
    chat = operator.execute("a b")
    assert plain.usage.input_tokens == 2
    assert chat.usage.input_tokens == 5  # "user : a b :"
    operator.close()


def test_stop_texts_end_the_answer(folder, context):
    operator = opened(context, model=folder, max_tokens=8)
    whole = operator.execute("a b").text
    stop = whole.split()[2]
    operator.close()
    operator = opened(context, model=folder, max_tokens=8, stop=stop)
    answer = operator.execute("a b")
    assert answer.text == whole[: whole.index(stop)].strip()
    assert answer.finish_reason == "stop"
    operator.close()


def test_prompts_that_are_too_long_are_refused(folder, context):
    operator = opened(context, model=folder, max_tokens=4)
    with pytest.raises(ItemError, match="61 tokens, more than the 60"):
        operator.execute("a " * 61)
    with pytest.raises(ItemError):
        operator.execute(3)
    operator.close()


def test_what_cannot_be_loaded_is_named(folder, context, tmp_path):
    with pytest.raises(ConfigError, match="cannot load the model"):
        opened(context, model=str(tmp_path / "none"))
    with pytest.raises(ConfigError, match="no dtype 'float99'"):
        opened(context, model=folder, dtype="float99")
    with pytest.raises(ConfigError, match="leaves none"):
        opened(context, model=folder, max_tokens=64)


def test_in_a_job_items_share_batches(folder):
    answers = []
    env = LocalEnvironment("hf")
    settings = {"model": folder, "max_tokens": 3, "local_files_only": True}
    stream = env.from_collection([f"{w} a" for w in "abcdeabcde"])
    stream.map("HuggingFaceGenerator", settings, batch_size=4).sink(answers.append)
    env.submit().wait(120)
    assert [a.query.text for a in answers] == [f"{w} a" for w in "abcdeabcde"]
    assert [a.text for a in answers[:5]] == [a.text for a in answers[5:]]


REVISIONS = """\
import json, sys
from sage.api import LocalEnvironment

answers = []
for revision in (None, "old"):
    env = LocalEnvironment("revision")
    config = {"model": "org/tiny", "revision": revision, "max_tokens": 6, "local_files_only": True}
    env.from_collection(["a b c"]).map("HuggingFaceGenerator", config).sink(answers.append)
    env.submit().wait(120)
print(json.dumps([a.text for a in answers]))
"""


def test_the_revision_of_a_model_on_the_hub(tmp_path, context):
    # What the hub's client has stored, as its documentation lays it out: refs name snapshots.
    stored = tmp_path / "models--org--tiny"
    (stored / "refs").mkdir(parents=True)
    expected = []
    for ref, seed in (("main", 5), ("old", 13)):
        commit = f"{seed:02}" * 20
        (stored / "refs" / ref).write_text(commit)
        folder = make_model(stored / "snapshots" / commit, seed)
        operator = opened(context, model=folder, max_tokens=6)
        expected.append(operator.execute("a b c").text)
        operator.close()
    assert expected[0] != expected[1]
    # The client reads its settings when it is imported.
    done = subprocess.run(
        [sys.executable, "-c", REVISIONS],
        env={**os.environ, "HF_HUB_CACHE": str(tmp_path), "HF_HUB_OFFLINE": "1"},
        check=False,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout.splitlines()[-1]) == expected
