"""Draw points decision by decision from an LSTM, and score them again with gradients."""

from __future__ import annotations

import math
import random
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from nasflow.ir import Decision, Point, Space
from strategies._points import thaw

# The logit of an option that is not there; exp(NEVER) does not underflow, which would be slow.
NEVER = -80.0
Step = tuple[int, int]  # a decision's index, and its option's index


class Controller(nn.Module):
    """Map the options chosen so far to a softmax over the next decision's options.

    One LSTM layer reads the embedding of the option chosen last; every decision has its own softmax
    (Zoph et al., 2018, appendix A.2). Inactive decisions take no step, so gates need no special
    token; decisions held at their default or with one option take none either.
    Where `tanh_limit` is set, logits become `tanh_limit * tanh(logits / temperature)`, as in ENAS
    (Pham et al., 2018).
    """

    columns: Tensor  # (decisions, widest): the head's columns of each decision's options
    absent: Tensor  # (decisions, widest): True past a decision's last option

    def __init__(
        self,
        space: Space,
        hidden: int,
        init: float,
        temperature: float,
        tanh_limit: float | None,
        seed: int,
    ) -> None:
        super().__init__()
        self.space, self.temperature, self.tanh_limit = space, temperature, tanh_limit
        self.decisions: tuple[Decision, ...] = space.decisions
        self.positions = [{option: i for i, option in enumerate(d.options)} for d in self.decisions]
        # a decision that is not open needs no tokens: it may have hundreds of options
        sizes = [len(d.options) if open_to_choice(d) else 0 for d in self.decisions]
        self.starts = [sum(sizes[:i]) for i in range(len(sizes))]
        tokens, widest = max(sum(sizes), 1), max(sizes, default=1)
        columns, first = torch.arange(widest), torch.tensor(self.starts).unsqueeze(1)
        last = (torch.tensor(sizes).unsqueeze(1) - 1).clamp_min(0)
        self.register_buffer("columns", (first + columns.minimum(last)).clamp_max(tokens - 1))
        self.register_buffer("absent", columns > last)
        with torch.random.fork_rng(devices=[]):  # building layers draws from the global generator
            self.embedding = nn.Embedding(tokens + 1, hidden)  # the last row starts a point
            self.lstm = nn.LSTM(hidden, hidden, batch_first=True)
            self.head = nn.Linear(hidden, tokens)
        generator = torch.Generator().manual_seed(seed)
        for parameter in self.parameters():
            nn.init.uniform_(parameter, -init, init, generator=generator)

    def draw(self, rng: random.Random, heat: float = 1.0) -> tuple[Point, list[float]]:
        """Return a point and its steps' log-probabilities; `heat` above 1 flattens softmaxes."""
        point: Point = {}
        scores: list[float] = []
        with torch.no_grad():
            rows, head, bias = self.embedding.weight, self.head.weight, self.head.bias
            weights = self.lstm.all_weights[0]
            state = (rows.new_zeros(1, rows.shape[1]), rows.new_zeros(1, rows.shape[1]))
            token = len(rows) - 1
            for decision, start in zip(self.decisions, self.starts, strict=True):
                if not self.space.active(decision, point):
                    continue
                if not open_to_choice(decision):
                    point[decision.name] = decision.default
                    continue
                end = start + len(decision.options)
                state = torch.lstm_cell(rows[token : token + 1], state, *weights)
                logits = F.linear(state[0], head[start:end], bias[start:end])
                chosen, score = pick(self._shape(logits)[0].tolist(), rng, heat)
                point[decision.name] = decision.options[chosen]
                scores.append(score)
                token = start + chosen
        return point, scores

    def steps(self, point: Point) -> list[Step]:
        """Return the choices a point makes among two or more options, in drawing order."""
        found = []
        for i, decision in enumerate(self.decisions):
            if open_to_choice(decision) and decision.name in point:
                found.append((i, self.positions[i][thaw(point[decision.name])]))
        return found

    def score(self, points: Sequence[Sequence[Step]]) -> tuple[Tensor, Tensor]:
        """Return every step's log-probability and entropy, (points, longest), 0 past the end."""
        longest = max(map(len, points))
        padded = [[*steps, *[(0, 0)] * (longest - len(steps))] for steps in points]
        decision, option = torch.tensor(padded).unbind(2)
        real = torch.arange(longest) < torch.tensor([len(steps) for steps in points]).unsqueeze(1)
        chosen = torch.tensor(self.starts)[decision] + option
        begin = torch.full((len(points), 1), len(self.embedding.weight) - 1)
        token = torch.cat([begin, chosen[:, :-1]], dim=1)
        logits = self.head(self.lstm(self.embedding(token))[0]).gather(2, self.columns[decision])
        scores = self._shape(logits).masked_fill(self.absent[decision], NEVER).log_softmax(dim=2)
        entropy = -(scores.exp() * scores).sum(dim=2)
        taken = scores.gather(2, option.unsqueeze(2)).squeeze(2)
        return taken * real, entropy * real

    def _shape(self, logits: Tensor) -> Tensor:
        logits = logits / self.temperature
        return logits if self.tanh_limit is None else self.tanh_limit * logits.tanh()


def open_to_choice(decision: Decision) -> bool:
    """Whether there is anything to decide."""
    return decision.searched and len(decision.options) > 1


def pick(logits: list[float], rng: random.Random, heat: float) -> tuple[int, float]:
    """Draw from the softmax of `logits / heat`; return the index and its score at heat 1."""
    top = max(logits)
    weights = [math.exp((value - top) / heat) for value in logits]
    chosen = rng.choices(range(len(logits)), weights)[0]
    return chosen, logits[chosen] - top - math.log(sum(math.exp(value - top) for value in logits))
