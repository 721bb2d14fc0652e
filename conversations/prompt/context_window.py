"""The part of a conversation that is sent to the model: reading it, and choosing what fits."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate

from django.conf import settings

from ai.gemini import Content, Prompt, PromptPicture
from conversations import transcript_repository as transcripts
from conversations.attachments.queries import prompt_pictures
from conversations.documents import (
    ConversationDocument,
    PromptMessage,
    RecentMessage,
    UserMessageDraft,
    message_id,
    message_seq,
)
from edgechat.errors import TooLarge
from edgechat.graphemes import cut
from usage.ledger.tokens import estimate_tokens, prompt_budget

# Of a conversation. A list of these many ids has 10 KB.
MAX_RECENT = 200


@dataclass(frozen=True)
class AnsweredExchange:
    """The texts and pictures of a user's message and the model's answer to it; `seq` is the answer's."""

    question: str
    answer: str
    seq: int
    pictures: tuple[PromptPicture, ...] = ()

    @property
    def tokens(self) -> int:
        """The tokens of the texts, without the pictures."""
        return estimate_tokens(self.question) + estimate_tokens(self.answer)


@dataclass(frozen=True)
class Window:
    """What is sent, oldest first; `overflowed` is true if earlier exchanges did not fit.

    `seqs` are the sequence numbers of the earlier answers in it, newest first.
    """

    contents: tuple[Content, ...]
    overflowed: bool
    seqs: tuple[int, ...]


@dataclass(frozen=True)
class ReplyPrompt:
    """The prompt of a reply; `overflowed` is true if the conversation no longer fits in the context window.

    `recent` are the ids of the messages in it and of the reply's own exchange, oldest first.
    """

    prompt: Prompt
    overflowed: bool
    recent: list[str]


def reply_prompt(
    conversation: ConversationDocument,
    draft: UserMessageDraft,
    *,
    seq: int,
    recent: Sequence[RecentMessage] = (),
) -> ReplyPrompt:
    """The prompt of the reply with this sequence number to a message.

    `recent` are the conversation's recent messages, if they were read with it. Raises MongoUnavailable.
    """
    instruction = _instruction(conversation)
    window = select_contents(
        _question(draft),
        _earlier(conversation, before_seq=seq - 1, recent=recent),
        instruction=instruction,
        budget=window_tokens(),
    )
    kept = [*reversed(window.seqs), seq][-MAX_RECENT // 2 :]
    return ReplyPrompt(
        Prompt(contents=window.contents, system_instruction=instruction),
        window.overflowed,
        [message_id(conversation["_id"], each) for answer in kept for each in (answer - 1, answer)],
    )


def _earlier(
    conversation: ConversationDocument, *, before_seq: int, recent: Sequence[RecentMessage]
) -> Iterator[AnsweredExchange]:
    """Answered exchanges that the summary does not cover, newest first: the recent ones, then older ones."""
    owner_id, conversation_id, summary = conversation["owner_id"], conversation["_id"], conversation["summary"]
    after_seq = summary["upto_seq"] if summary else 0
    if is_all_of_recent(conversation, recent):
        yield from _exchanges(message for message in reversed(recent) if after_seq < message["seq"] < before_seq)
        # Unanswered exchanges between the recent ones are not sent.
        before_seq = min(before_seq, message_seq(conversation_id, conversation["recent"][0]) or before_seq)
    yield from newest_first(owner_id, conversation_id, before_seq=before_seq, after_seq=after_seq)


def is_all_of_recent(conversation: ConversationDocument, recent: Sequence[RecentMessage]) -> bool:
    """Whether these are all recent messages of the conversation, up to its newest exchange.

    The ids of an undone claim's messages are in the list too. Earlier versions claim without writing the list, and
    NX-27017 joins no messages by a stored list.
    """
    seqs = [message_seq(conversation["_id"], mid) or 0 for mid in conversation.get("recent", ())]
    stored = [seq for seq in seqs if seq < conversation["next_seq"]]
    is_up_to_date = bool(seqs) and seqs[-1] >= conversation["next_seq"] - 1
    return is_up_to_date and [message["seq"] for message in recent] == stored


def refuse_too_long(conversation: ConversationDocument, draft: UserMessageDraft) -> None:
    """Raise TooLarge for a message that alone exceeds the context window."""
    budget = window_tokens()
    if not fits(_question(draft), instruction=_instruction(conversation), budget=budget):
        raise TooLarge(f"The message is longer than the {budget} tokens that one message may have")


def window_tokens() -> int:
    """The tokens that a prompt may have."""
    return prompt_budget(max_tokens=settings.CONTEXT_MAX_TOKENS, max_output_tokens=settings.AI_MAX_OUTPUT_TOKENS)


def newest_first(
    owner_id: int, conversation_id: str, *, before_seq: int, after_seq: int = 0
) -> Iterator[AnsweredExchange]:
    """Answered exchanges between two excluded sequence numbers, newest first; `before_seq` is a user message's."""
    yield from _exchanges(transcripts.read_messages(owner_id, conversation_id, range(before_seq - 1, after_seq, -1)))


def _exchanges(messages: Iterable[PromptMessage]) -> Iterator[AnsweredExchange]:
    """Messages, newest first, as answered exchanges."""
    answer: PromptMessage | None = None
    for message in messages:
        if answer is not None:
            yield from _answered(message, answer)
        answer = message


def oldest_first(owner_id: int, conversation_id: str, *, after_seq: int, before_seq: int) -> Iterator[AnsweredExchange]:
    """Answered exchanges between two excluded sequence numbers, oldest first."""
    question: PromptMessage | None = None
    for message in transcripts.read_messages(owner_id, conversation_id, range(after_seq + 1, before_seq)):
        if question is not None:
            yield from _answered(question, message)
        question = message


def _answered(question: PromptMessage, answer: PromptMessage) -> Iterator[AnsweredExchange]:
    """Two messages as an exchange, if the model answered.

    Failed and blocked exchanges are left out, because the roles of a prompt must alternate.
    """
    if (
        answer["role"] == "model"
        and answer["seq"] == question["seq"] + 1
        and answer["content"]
        and answer["status"] in ("complete", "stopped", "interrupted")
    ):
        pictures = prompt_pictures(question["attachments"])
        yield AnsweredExchange(question["content"], answer["content"], answer["seq"], pictures)


def _question(draft: UserMessageDraft) -> Content:
    return Content("user", draft["content"], prompt_pictures(draft["attachments"]))


def _instruction(conversation: ConversationDocument) -> str | None:
    summary = conversation["summary"]
    return instruction_with_summary(conversation["system_instruction"], summary["text"] if summary else None)


def instruction_with_summary(system_instruction: str | None, summary: str | None) -> str | None:
    """The system instruction, followed by the summary of the messages before the sent ones."""
    if summary is None:
        return system_instruction
    text = f"Summary of the conversation before the messages below:\n{summary}"
    return f"{system_instruction}\n\n{text}" if system_instruction else text


def fits(question: Content, *, instruction: str | None, budget: int) -> bool:
    """Whether a message, its pictures and the instruction fit into `budget` tokens."""
    return _tokens_left(question, instruction=instruction, budget=budget) >= 0


def select_contents(
    question: Content, earlier: Iterable[AnsweredExchange], *, instruction: str | None, budget: int
) -> Window:
    """The latest whole exchanges that fit into `budget` tokens with the question, then the question.

    `earlier` is newest first and is only read as far as exchanges fit, so the cost does not grow with the history.
    Earlier pictures get a quarter of the tokens that the question leaves. From the first exchange whose pictures do not
    fit, all older pictures are left out; their texts stay.
    """
    left = _tokens_left(question, instruction=instruction, budget=budget)
    left_for_pictures = left // 4
    contents: list[Content] = [question]
    seqs: list[int] = []
    overflowed = False
    for exchange in earlier:
        left -= exchange.tokens
        if left < 0:
            overflowed = True
            break
        tokens = sum(picture.tokens for picture in exchange.pictures)
        shown = exchange.pictures if tokens <= min(left, left_for_pictures) else ()
        if shown:
            left -= tokens
            left_for_pictures -= tokens
        elif exchange.pictures:
            left_for_pictures = 0
        contents += [Content("model", exchange.answer), Content("user", exchange.question, shown)]
        seqs.append(exchange.seq)
    return Window(tuple(reversed(contents)), overflowed, tuple(seqs))


def _tokens_left(question: Content, *, instruction: str | None, budget: int) -> int:
    pictures = sum(picture.tokens for picture in question.pictures)
    return budget - estimate_tokens(question.text) - pictures - estimate_tokens(instruction or "")


def first_kept(earlier: Iterable[AnsweredExchange], *, budget: int, alone: int) -> int | None:
    """The lowest `seq` of the latest exchanges that fit into `budget` tokens.

    The latest exchange may have up to `alone` tokens. None if it has more, or if there are no exchanges.
    """
    lowest: int | None = None
    for exchange in earlier:
        if exchange.tokens > (alone if lowest is None else budget):
            break
        budget -= exchange.tokens
        lowest = exchange.seq
    return lowest


def is_as_long_as(earlier: Iterable[AnsweredExchange], *, tokens: int) -> bool:
    """Whether these exchanges have at least `tokens` together; only as many as necessary are read."""
    return any(total >= tokens for total in accumulate(exchange.tokens for exchange in earlier))


def beginning(text: str, *, tokens: int) -> str:
    """The beginning of a text for which `estimate_tokens` counts at most `tokens`."""
    return cut(text, len(text.encode()[: 3 * max(0, tokens)].decode(errors="ignore")))


def numbered_dialogue(
    earlier: Iterable[AnsweredExchange], *, summary: tuple[str, int] | None, budget: int
) -> tuple[str, list[int]]:
    """The latest exchanges as text of at most `budget` tokens, each message after its `seq`; and the `seq`s, ascending.

    `earlier` is newest first and is only read as far as exchanges fit. The summary of older messages, with the `seq` of
    its last message, comes first. If the newest exchange does not fit, its beginning is taken.
    """
    beginnings = [f"[{summary[1]}] Summary of all until here: {summary[0]}"] if summary else []
    seqs = [summary[1]] if summary else []
    left = budget - sum(map(estimate_tokens, beginnings))
    parts: list[str] = []
    for exchange in earlier:
        text = (
            f"\n[{exchange.seq - 1}] {_user(exchange)}: {exchange.question}\n[{exchange.seq}] Model: {exchange.answer}"
        )
        if estimate_tokens(text) > left:
            if parts:
                break
            text = beginning(text, tokens=left)
        left -= estimate_tokens(text)
        parts.append(text)
        seqs += [exchange.seq - 1, exchange.seq]
    return "".join(beginnings + parts[::-1]).strip(), sorted(seqs)


def dialogue(exchanges: Iterable[AnsweredExchange], *, budget: int, least: int) -> tuple[str, int | None]:
    """Exchanges, oldest first, as text of at most `budget` tokens, and the `seq` of the last exchange in it.

    An empty text and None if all exchanges have fewer tokens than `least`, which must be less than the budget. The last
    exchange is cut, not left out, if the exchanges before it have fewer tokens than `least`, so that each text covers
    at least `least` tokens.
    """
    parts: list[str] = []
    last: int | None = None
    left, covered = budget, 0
    for each in exchanges:
        text = f"{_user(each)}: {each.question}\nModel: {each.answer}"
        tokens = estimate_tokens(text) + 1  # plus the separator
        if tokens > left:
            if covered >= least:
                break
            text = beginning(text, tokens=left)
        parts.append(text)
        last = each.seq
        covered += each.tokens
        left -= tokens
        if left <= 0:
            break
    else:
        if covered < least:
            return "", None
    return "\n\n".join(parts), last


def _user(exchange: AnsweredExchange) -> str:
    return f"User [with {len(exchange.pictures)} pictures]" if exchange.pictures else "User"
