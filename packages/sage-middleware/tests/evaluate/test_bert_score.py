"""BERTScore over a tiny encoder that the test makes, against bert-score and against the formula."""

import importlib.util
import sys
import types
from collections import defaultdict

import pytest

from sage.common.errors import ConfigError
from sage.lib.evaluate import BERTRecallEvaluate, BERTScoreEvaluate

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")
pytestmark = [
    pytest.mark.heavy,
    pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning"),
]

# fmt: off
WORDS = [
    "the",
    "a",
    "cat",
    "dog",
    "sat",
    "ran",
    "on",
    "mat",
    "road",
    "fast",
    "slow",
    "in",
    "of",
    "paris",
    "tower",
    "river",
]
PAIRS = [
    ("the cat sat on the mat", "a cat ran on the road"),
    ("paris", "the tower of paris"),
    ("  the river  ", "the river"),
    ("fast dog", "slow cat in the river"),
    ("unknownword cat", "cat"),
    ("", "the cat"),
]


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    folder = tmp_path_factory.mktemp("bert")
    vocabulary = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *WORDS]
    (folder / "vocab.txt").write_text("\n".join(vocabulary), encoding="utf-8")
    torch.manual_seed(7)
    config = transformers.BertConfig(
        vocab_size=len(vocabulary), hidden_size=32, num_hidden_layers=3, num_attention_heads=4,
        intermediate_size=48, max_position_embeddings=64,
    )  # fmt: skip
    transformers.BertModel(config).save_pretrained(folder)
    names = {word: index for index, word in enumerate(vocabulary)}
    tokenizer = transformers.BertTokenizer(vocab=names, model_max_length=64)
    tokenizer.save_pretrained(folder)
    return str(folder)


def evaluate(kind, model, text, references, **config):
    evaluator = kind({"model": model, **config})
    evaluator.open(None)
    return evaluator.execute({"question": "q", "answer": text, "references": references}).scores


@pytest.mark.parametrize("layer", [2, 3])
@pytest.mark.parametrize(("text", "reference"), PAIRS)
def test_values_follow_the_formula(model, text, reference, layer):
    network = transformers.AutoModel.from_pretrained(model).eval()
    tokenizer = transformers.AutoTokenizer.from_pretrained(model)

    def vectors(sentence):
        batch = tokenizer(sentence.strip(), return_tensors="pt")
        with torch.no_grad():
            states = network(**batch, output_hidden_states=True).hidden_states[layer][0]
        return [state / state.norm() for state in states]

    a, b = vectors(text), vectors(reference)
    if len(a) == 2 or len(b) == 2:
        precision = recall = f1 = 0.0
    else:
        near_a = [max(float(x @ y) for y in b) for x in a][1:-1]
        near_b = [max(float(x @ y) for y in a) for x in b][1:-1]
        precision, recall = sum(near_a) / len(near_a), sum(near_b) / len(near_b)
        f1 = 2 * precision * recall / (precision + recall)
    found = evaluate(BERTScoreEvaluate, model, text, [reference], layer=layer)
    assert found == {
        "bertscore_precision": pytest.approx(precision, abs=1e-5),
        "bertscore_recall": pytest.approx(recall, abs=1e-5),
        "bertscore_f1": pytest.approx(f1, abs=1e-5),
    }
    assert evaluate(BERTRecallEvaluate, model, text, [reference], layer=layer) == {
        "bert_recall": pytest.approx(recall, abs=1e-5)
    }


@pytest.fixture
def bert_score(monkeypatch):
    spec = importlib.util.find_spec("bert_score")
    if spec is None:
        pytest.skip("bert-score is not installed")
    # The package imports what it draws with; only its arithmetic is wanted here.
    package = types.ModuleType("bert_score")
    package.__path__ = list(spec.submodule_search_locations)
    package.__version__ = "any"
    monkeypatch.setitem(sys.modules, "bert_score", package)
    monkeypatch.delitem(sys.modules, "bert_score.utils", raising=False)
    from bert_score import utils

    return utils


def test_values_equal_those_of_bert_score_at_batch_1(model, bert_score):
    network = transformers.AutoModel.from_pretrained(model).eval()
    tokenizer = transformers.AutoTokenizer.from_pretrained(model)
    # What bert-score reaches into, which newer tokenizers no longer have.
    if not hasattr(tokenizer, "build_inputs_with_special_tokens"):
        tokenizer.build_inputs_with_special_tokens = lambda ids: [
            tokenizer.cls_token_id, *ids, tokenizer.sep_token_id
        ]  # fmt: skip
    weights = defaultdict(lambda: 1.0)
    weights[tokenizer.sep_token_id] = weights[tokenizer.cls_token_id] = 0
    pairs = [pair for pair in PAIRS if pair[0].strip()]
    references, texts = [b for _, b in pairs], [a for a, _ in pairs]
    expected = bert_score.bert_cos_score_idf(
        network, references, texts, tokenizer, weights, batch_size=1, device="cpu"
    )
    for (text, reference), (precision, recall, f1) in zip(pairs, expected.tolist(), strict=True):
        found = evaluate(BERTScoreEvaluate, model, text, [reference])
        assert list(found.values()) == pytest.approx([precision, recall, f1], abs=1e-4)


def test_the_best_reference_counts_and_none_is_no_score(model):
    found = evaluate(BERTScoreEvaluate, model, "the cat", ["slow river", "the cat"])
    assert found["bertscore_f1"] == pytest.approx(1.0, abs=1e-5)
    assert set(evaluate(BERTScoreEvaluate, model, "the cat", []).values()) == {None}


def test_a_model_that_is_not_there_or_too_shallow_says_so(model, tmp_path):
    with pytest.raises(ConfigError, match="folder of an encoder"):
        evaluate(BERTScoreEvaluate, str(tmp_path), "a", ["b"])
    with pytest.raises(ConfigError, match="from 1 to 3"):
        evaluate(BERTScoreEvaluate, model, "a", ["b"], layer=4)
