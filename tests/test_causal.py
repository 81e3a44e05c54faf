"""A causal language model answers by the probabilities of label words; how it is computed changes none of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tiny import DECODERS, make_rows, write_base
from transformers import AutoModelForCausalLM

from tunebench.data.items import Completion, Question
from tunebench.data.labels import LabelMap
from tunebench.errors import InputError
from tunebench.model.causal import AnswerBackend
from tunebench.model.objectives import Answering, Examples
from tunebench.model.pretrained import load_pretrained
from tunebench.model.scoring import RotatingScorer, make_scorer, padding_id
from tunebench.model.sequences import target_losses
from tunebench.predict.documents import Sequences, WritingEncoder, pack, packed
from tunebench.predict.prompts import PromptEncoder, open_prompts, parse_answer
from tunebench.predict.scorers import TokenScorer, score_ids
from tunebench.recipe.load import validate
from tunebench.recipe.prompt import Prompt, Template
from tunebench.recipe.spec import Recipe
from tunebench.train.lessons import with_answers

LABELS = LabelMap(("negative", "positive"), "positive")
TEXTS = [row["text"] for row in make_rows(12)]
WORDS = {"one token": {"negative": "bad", "positive": "good"}, "several": {"negative": "bad plot", "positive": "positive"}}
ASKED: dict[str, Any] = {"template": "the story is: {text} a film is very", "label_words": WORDS["one token"]}
TOLERANCE = 1e-5


@pytest.fixture(scope="module")
def bases(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("decoders")
    return {kind: write_base(folder / kind, kind, causal=True) for kind in DECODERS}


def recipe(base: Path, task: str = "prompt-classification", **changes: Any) -> Recipe:
    data: dict[str, Any] = {"train": "-", "validation": "-"}
    if task == "multiple-choice":
        data["choices"] = ["a", "b", "c"]
    settings = {
        "name": "x",
        "task": task,
        "base": {"model": str(base), "max_length": 48},
        "data": data,
        "method": {"kind": "lora"},
    }
    return validate(settings | changes, "test")


def load(base: Path) -> Any:
    return load_pretrained(base, LABELS, "none")[0].eval()


def prompts(base: Path, words: dict[str, str], template: str = ASKED["template"]) -> PromptEncoder:
    prompt = Prompt(template=template, label_words=words)
    return open_prompts(base, 48, "right", prompt, LABELS, "prompt-classification")


def brute_force(model: Any, ids: list[int], answer: list[int]) -> float:
    """Sum of the log-probabilities of an answer's tokens, one whole forward pass per answer, by plain transformers."""
    with torch.no_grad():
        logits = model(input_ids=torch.tensor([[*ids, *answer]])).logits[0].double().log_softmax(-1)
    return float(sum(logits[len(ids) - 1 + i, token] for i, token in enumerate(answer)))


@pytest.mark.parametrize("kind", DECODERS)
@pytest.mark.parametrize("words", WORDS)
def test_scores_are_the_brute_force_sum_of_log_probabilities(bases: dict[str, Path], kind: str, words: str) -> None:
    model, encoder = load(bases[kind]), prompts(bases[kind], WORDS[words])
    assert (max(map(len, encoder.answers)) == 1) == (words == "one token")
    found = score_ids(AnswerBackend(model, padding_id(model), encoder.answers, encoder.prefix), encoder.encode(TEXTS).ids, 2, 5)
    expected = np.array([[brute_force(model, ids, answer) for answer in encoder.answers] for ids in encoder.encode(TEXTS).ids])
    assert np.ptp(expected[:, 0] - expected[:, 1]) > 1e-3
    assert np.abs((found[:, 0] - found[:, 1]) - (expected[:, 0] - expected[:, 1])).max() < TOLERANCE


@pytest.mark.parametrize("kind", DECODERS)
def test_the_side_of_the_padding_changes_no_probability(bases: dict[str, Path], kind: str) -> None:
    model, encoder = load(bases[kind]), prompts(bases[kind], WORDS["one token"])
    ids = encoder.encode(TEXTS[:4]).ids
    found = score_ids(AnswerBackend(model, padding_id(model), encoder.answers), ids, 2, 4)
    width = max(map(len, ids)) + 3
    padded = torch.tensor([[padding_id(model)] * (width - len(row)) + row for row in ids])
    mask = torch.tensor([[0] * (width - len(row)) + [1] * len(row) for row in ids])
    with torch.no_grad():
        logits = model(input_ids=padded, attention_mask=mask, position_ids=(mask.cumsum(1) - 1).clamp(min=0)).logits[:, -1]
    left = logits[:, [answer[0] for answer in encoder.answers]].numpy()
    assert np.abs((left[:, 0] - left[:, 1]) - (found[:, 0] - found[:, 1])).max() < TOLERANCE


@pytest.mark.parametrize("kind", ["llama", "mistral", "gemma3_text"])
@pytest.mark.parametrize("words", WORDS)
@pytest.mark.parametrize("size", [1, 3, 12])
def test_batch_neighbours_and_the_shared_prefix_change_no_probability(
    bases: dict[str, Path], kind: str, words: str, size: int
) -> None:
    model, encoder = load(bases[kind]), prompts(bases[kind], WORDS[words], "a film and a story and a plot of a film: {text} is")
    ids = encoder.encode(TEXTS).ids
    assert len(encoder.prefix) >= 8
    alone = score_ids(AnswerBackend(model, padding_id(model), encoder.answers), ids, 2, 1)
    backend = AnswerBackend(model, padding_id(model), encoder.answers, encoder.prefix)
    assert np.abs(score_ids(backend, ids, 2, size) - alone).max() < TOLERANCE
    assert np.abs(score_ids(backend, ids[::-1], 2, size)[::-1] - alone).max() < TOLERANCE
    if kind == "llama":
        assert backend.prefix_cache(), "the prefix was computed once"


def test_the_prefix_is_computed_anew_once_the_weights_have_changed(bases: dict[str, Path]) -> None:
    model, encoder = (
        load(bases["llama"]),
        prompts(bases["llama"], WORDS["one token"], "a film and a story and a plot of: {text} is"),
    )
    asked = Examples(encoder.encode(TEXTS).ids, [i % 2 for i in range(len(TEXTS))])
    shared, without = (
        Answering(
            with_answers(encoder, asked), asked, asked, AnswerBackend(model, padding_id(model), encoder.answers, prefix), 1, 128
        )
        for prefix in (encoder.prefix, ())
    )
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2, fused=True)  # which tells no parameter that it has changed
    losses = []
    for _ in range(2):
        found, expected = (objective.evaluate(model, 4).validation["loss"] for objective in (shared, without))
        assert abs(found - expected) < TOLERANCE
        losses.append(found)
        shared.loss(model, range(len(TEXTS)), torch.device("cpu")).total.backward()
        optimizer.step()
    assert abs(losses[0] - losses[1]) > 1e-3


@pytest.mark.parametrize("side", ["right", "left", "middle"])
def test_only_the_text_is_cut_and_the_question_stays(bases: dict[str, Path], side: str) -> None:
    words = ["bad", "good"]
    encoder = PromptEncoder(bases["llama"], 20, side, Template("a film: {text} is it good"), words)
    text = " ".join("abcdefghijklmnopqrstuvwxyz")
    (ids,) = encoder.encode([text]).ids
    assert encoder.encode([text, "warm"]).truncated == [True, False]
    assert len(ids) == encoder.room
    whole = PromptEncoder(bases["llama"], 60, side, Template("a film: {text} is it good"), words).encode([text]).ids[0]
    head, tail = 4, 4  # <s> a film : … is i ##t good
    assert ids[:head] == whole[:head]
    assert ids[-tail:] == whole[-tail:]
    kept = encoder.decode(ids[head:-tail]).split()
    expected = {"right": list("abcdefghij"), "left": list("qrstuvwxyz"), "middle": list("abcde") + list("vwxyz")}[side]
    assert kept == expected


def test_a_prompt_that_does_not_fit_without_its_text_is_an_error_of_that_row(bases: dict[str, Path]) -> None:
    with pytest.raises(InputError, match="without any text the template is"):
        open_prompts(bases["llama"], 24, "right", Prompt(), LabelMap(("1", "2", "3")), "multiple-choice")
    encoder = open_prompts(bases["llama"], 200, "right", Prompt(), LabelMap(("1", "2", "3")), "multiple-choice")
    short, long = Question("a film", "is it", ("a", "b", "c")), Question("a film", "is it " * 80, ("a", "b", "c"))
    found = encoder.encode([long, short, long])
    assert [bool(ids) for ids in found.ids] == [False, True, False]
    assert "does not fit" in (found.errors or [""])[0]
    assert (found.errors or [""])[1] is None


@pytest.mark.parametrize(
    ("words", "fault"),
    [
        ({"negative": "good film", "positive": "good"}, "begin with the same token"),
        ({"negative": "good film", "positive": "good plot"}, "begin with the same token"),
        ({"negativ": "bad"}, "'negativ' is no label; nearest is 'negative'"),
        ({"negative": " "}, "empty word"),
    ],
)
def test_answers_that_cannot_be_told_apart_are_refused(bases: dict[str, Path], words: dict[str, str], fault: str) -> None:
    with pytest.raises(InputError) as error:
        prompts(bases["llama"], words)
    assert fault in str(error.value)


def test_options_scored_in_every_order_lose_the_preference_for_a_place(bases: dict[str, Path]) -> None:
    base, labels = bases["llama"], LabelMap(("1", "2", "3"))
    model = load(base)
    encoder = open_prompts(base, 60, "right", Prompt(template="{passage} {question} {choices} is"), labels, "multiple-choice")
    scorer = TokenScorer(encoder, AnswerBackend(model, padding_id(model), encoder.answers), 3, 4)
    question = Question("a film", "the plot", ("good", "bad", "warm"))
    turned = question._replace(choices=("bad", "warm", "good"))
    plain, rotated = (
        scorer.score([question, turned]).probabilities,
        RotatingScorer(scorer, 3).score([question, turned]).probabilities,
    )
    assert np.abs(np.roll(plain[1], 1) - plain[0]).max() > 1e-3  # a place is preferred
    assert np.abs(np.roll(rotated[1], 1) - rotated[0]).max() < TOLERANCE


def test_contextual_calibration_makes_answers_to_nothing_equally_probable(bases: dict[str, Path]) -> None:
    asked = recipe(bases["llama"], prompt=ASKED | {"contextual_calibration": True})
    plain = recipe(bases["llama"], prompt=ASKED)
    model = load(bases["llama"])
    scorer, other = (make_scorer(model, item, bases["llama"], LABELS) for item in (asked, plain))
    calibrated = scorer.score(["N/A", "[MASK]", ""]).probabilities
    preferred = other.score(["N/A", "[MASK]", ""]).probabilities.mean(axis=0)
    assert abs(preferred[0] - 0.5) > 1e-3
    ratio = other.score(["N/A"]).probabilities[0] / preferred
    assert np.allclose(calibrated[0], ratio / ratio.sum(), atol=1e-6)


@pytest.mark.parametrize(
    ("text", "task", "answer"),
    [
        (" positive\n", "prompt-classification", 1),
        ("Negative.", "prompt-classification", 0),
        ("positive or negative", "prompt-classification", None),
        ("fine", "prompt-classification", None),
        ("2", "multiple-choice", 1),
        (" 3)", "multiple-choice", 2),
        ("12", "multiple-choice", None),
        ("4", "multiple-choice", None),
        ("the answer is 2", "multiple-choice", None),
    ],
)
def test_a_generated_text_names_one_answer_or_none(text: str, task: str, answer: int | None) -> None:
    words = ["negative", "positive"] if task == "prompt-classification" else ["1", "2", "3"]
    assert parse_answer(text, words, task) == answer


@pytest.mark.parametrize("size", [1, 4])
def test_generation_writes_what_transformers_writes_one_by_one(bases: dict[str, Path], size: int) -> None:
    base, model = bases["llama"], load(bases["llama"])
    asked = recipe(base, prompt=ASKED | {"decode": "generate"})
    scorer = make_scorer(model, asked, base, LABELS, batch_size=size)
    found, encoder = scorer.score(TEXTS), prompts(base, WORDS["one token"])
    plain = AutoModelForCausalLM.from_pretrained(base)
    for text, ids in zip(found.generated or [], encoder.encode(TEXTS).ids, strict=True):
        row = torch.tensor([ids])
        for _ in range(4):
            row = torch.cat([row, plain(input_ids=row).logits[:, -1:].argmax(-1)], dim=1)
            if int(row[0, -1]) in encoder.end:
                break
        assert text == encoder.decode([token for token in row[0, len(ids) :].tolist() if token not in encoder.end])
    assert found.invalid == [answer is None for answer in found.answers or []]
    assert any(found.invalid)
    fallback = asked.model_copy(update={"prompt": asked.asked.model_copy(update={"on_invalid": "positive"})})
    filled = make_scorer(model, fallback, base, LABELS).score(TEXTS)
    assert filled.invalid == found.invalid
    assert [1 if bad else answer for answer, bad in zip(found.answers or [], found.invalid, strict=True)] == filled.answers


@pytest.fixture
def documents(bases: dict[str, Path]) -> Sequences:
    return (
        WritingEncoder(bases["llama"], 40)
        .encode([" ".join(TEXTS[i:j]) for i, j in ((0, 1), (1, 3), (3, 4), (4, 6), (6, 7))])
        .rows
    )


@pytest.mark.parametrize("kind", DECODERS)
def test_documents_packed_into_one_row_see_nothing_of_each_other(bases: dict[str, Path], kind: str) -> None:
    texts = [" ".join(TEXTS[i:j]) for i, j in ((0, 1), (1, 2), (3, 4), (4, 5), (6, 7))]
    rows, model = WritingEncoder(bases[kind], 60).encode(texts).rows, load(bases[kind])
    together = packed(rows, 60)
    assert len(together.ids) < len(rows.ids)
    device, pad = torch.device("cpu"), padding_id(model)
    with torch.no_grad():
        alone = torch.cat([target_losses(model, rows, [place], pad, device)[0] for place in _order(rows, 60)])
        found = torch.cat(target_losses(model, together, range(len(together.ids)), pad, device))
    assert float((alone - found).abs().max()) < TOLERANCE


def _order(rows: Sequences, room: int) -> list[int]:
    return [place for row in pack(rows.lengths, room) for place in row]


def test_losses_are_those_of_plain_transformers(bases: dict[str, Path], documents: Sequences) -> None:
    model, plain = load(bases["llama"]), AutoModelForCausalLM.from_pretrained(bases["llama"])
    found = target_losses(model, documents, range(len(documents.ids)), padding_id(model), torch.device("cpu"))
    for row, losses in zip(documents.ids, found, strict=True):
        ids = torch.tensor([row])
        with torch.no_grad():
            assert float(losses.mean()) == pytest.approx(float(plain(input_ids=ids, labels=ids).loss), abs=1e-5)


def test_gradients_do_not_depend_on_how_many_logits_are_held_at_once(
    bases: dict[str, Path], documents: Sequences, monkeypatch: pytest.MonkeyPatch
) -> None:
    def gradients() -> torch.Tensor:
        model = load(bases["llama"])
        torch.cat(target_losses(model, documents, range(len(documents.ids)), 0, torch.device("cpu"))).sum().backward()
        return torch.cat([parameter.grad.flatten() for parameter in model.parameters() if parameter.grad is not None])

    whole = gradients()
    monkeypatch.setattr("tunebench.model.sequences.LOGITS", 7 * 128)
    assert float((gradients() - whole).abs().max()) < 1e-4 * float(whole.abs().max())


def test_a_long_document_goes_on_in_the_next_row_and_no_token_is_predicted_twice(bases: dict[str, Path]) -> None:
    text = " ".join(TEXTS)
    found = WritingEncoder(bases["llama"], 16).encode([text])
    whole = WritingEncoder(bases["llama"], 1000).encode([text]).rows.ids[0]
    assert set(found.owners) == {0}
    joined = [found.rows.ids[0][0]]
    for row, spans in zip(found.rows.ids, found.rows.targets, strict=True):
        assert row[0] == joined[-1]
        joined += [token for start, end in spans for token in row[start:end]]
    assert joined == whole
    assert max(map(len, found.rows.ids)) == 16


@pytest.mark.parametrize("room", [8, 20, 33])
def test_packing_keeps_every_document_once_and_fills_rows(room: int) -> None:
    lengths = [5, 8, 2, 7, 3, 3, 8, 1, 4, 6]
    rows = pack(lengths, room)
    assert sorted(place for row in rows for place in row) == list(range(len(lengths)))
    assert all(sum(lengths[place] for place in row) <= room for row in rows)
    assert len(rows) <= 1.25 * -(-sum(lengths) // room) + 1


@pytest.mark.parametrize(
    ("prompt", "completion", "learned"),
    [
        ("the film is", " good", ["good", "</s>"]),
        ("the film is goo", "d", ["good", "</s>"]),  # one token with the end of the prompt
        ("the film is", "a", ["##a", "</s>"]),
    ],
)
def test_of_a_completion_that_grows_together_with_its_prompt_only_its_tokens_are_learned(
    bases: dict[str, Path], prompt: str, completion: str, learned: list[str]
) -> None:
    encoder = WritingEncoder(bases["llama"], 60)
    found = encoder.encode([Completion(prompt, completion)]).rows
    ((start, end),) = found.targets[0]
    assert [encoder._tokenizer.id_to_token(token) for token in found.ids[0][start:end]] == learned


def test_characters_that_were_cut_away_are_not_counted(bases: dict[str, Path]) -> None:
    item = Completion("the film is", " good great warm funny moving bright")
    whole, cut = (WritingEncoder(bases["llama"], most).encode([item]) for most in (60, 6))
    assert whole.characters == [len(item.completion)]
    assert cut.rows.counts == [2]
    assert cut.characters == [len(" good great")]
