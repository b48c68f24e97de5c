"""Places for tensors in one block of memory, as small as their lifetimes allow.

A tensor lives from the step that writes it to the last one that reads it. Where a step may write over what it reads for
the last time, the two tensors share a place. The others are placed by "greedy by size" (Pisarchyk & Lee 2020,
arXiv:2001.03288): the largest first, each as low as it fits beside those that live at the same time. Orders by length
of life and by start are tried too, and the lowest peak is taken.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from slt_compress.c_export.network import Affine, Layer, Network, Pool, Step, Sum, size

PLANE = "plane of "  # before the name of a tensor: the sums of one of its channels


@dataclass(frozen=True)
class Life:
    """A tensor that needs a place.

    Attributes:
        name: of the tensor.
        size: words.
        first: index of the step that writes it.
        last: index of the last step that reads it.
    """

    name: str
    size: int
    first: int
    last: int

    def meets(self, other: "Life") -> bool:
        """Return whether there is a step at which both live."""
        return self.first <= other.last and other.first <= self.last


@dataclass(frozen=True)
class Plan:
    """Where tensors lie.

    Attributes:
        offsets: by name, in words.
        size: words of the whole block.
        bound: the most words that live at one step: no plan is smaller.
    """

    offsets: dict[str, int]
    size: int
    bound: int


def lives(network: Network, *, in_bytes: bool = False, outside: bool = True) -> tuple[list[Life], dict[str, str]]:
    """Return the tensors that a network needs places for, in words of four bytes, and which take the place of which.

    The input lies in the memory of the caller, and if it is `outside`, so does the output. Values take a word, or a
    byte if they are `in_bytes`. Sums take a word. A layer sums a channel in a plane of its own if values are in bytes,
    if its result is pooled, or if that takes a place from which the layer has still to read.
    """
    last, target = network.last_reader(), network.root(network.target) if outside else ""
    found: list[Life] = []
    shared: dict[str, str] = {}
    for index, step in enumerate(network.steps):
        pooled = isinstance(step, Layer) and step.pooling is not None
        words = -(-size(step.result) // 4) if in_bytes else size(step.result)
        if step.output != target:
            here = {life.name: life for life in found}
            for name in map(network.root, _replaceable(step)):
                reading = [network.root(one) for one in step.inputs]
                dies = name in here and last[name] == index and here[name].size >= words
                if dies and (reading.count(name) == 1 or not isinstance(step, Layer)):
                    shared[step.output] = name
                    break
            end = len(network.steps) if step.output == network.root(network.target) else index
            found.append(Life(step.output, words, index, last.get(step.output, end)))
        if isinstance(step, Layer) and not step.linear and (in_bytes or pooled or step.output in shared):
            found.append(Life(PLANE + step.output, size(step.sums[1:]), index, index))
    return found, shared


def _replaceable(step: Step) -> tuple[str, ...]:
    """Return the inputs that a step could write its output over."""
    match step:
        case Affine() | Sum():
            return step.inputs
        case Pool():
            return step.inputs if step.pooling.apart else ()
        case Layer():
            added = step.inputs[1:]
            alone = step.groups == step.source[0] == step.sums[0]  # each output channel reads its own input channel
            return (*added, step.inputs[0]) if alone and size(step.result) <= size(step.source) else added
    return ()


def plan(lives: Sequence[Life], shared: Mapping[str, str]) -> Plan:
    """Return places for tensors. `shared` maps a tensor to the one whose place it takes, which dies where it begins."""
    blocks = _blocks(lives, shared)
    orders = [
        sorted(blocks, key=lambda life: (-life.size, life.first)),
        sorted(blocks, key=lambda life: (life.first - life.last, -life.size)),
        sorted(blocks, key=lambda life: (life.first, -life.size)),
    ]
    found = min((_place(order) for order in orders), key=lambda offsets: _end(blocks, offsets))
    steps = {life.first for life in blocks}
    bound = max((sum(life.size for life in blocks if life.first <= step <= life.last) for step in steps), default=0)
    offsets = {life.name: found[_owner(life.name, shared)] for life in lives}
    return Plan(offsets, _end(blocks, found), bound)


def _owner(name: str, shared: Mapping[str, str]) -> str:
    while name in shared:
        name = shared[name]
    return name


def _blocks(lives: Sequence[Life], shared: Mapping[str, str]) -> list[Life]:
    """Return one life for all tensors that share a place."""
    found: dict[str, Life] = {}
    for life in lives:
        owner = _owner(life.name, shared)
        old = found.get(owner, life)
        found[owner] = Life(owner, max(old.size, life.size), min(old.first, life.first), max(old.last, life.last))
    return list(found.values())


def _place(order: Iterable[Life]) -> dict[str, int]:
    placed: list[tuple[int, Life]] = []
    for life in order:
        low = 0
        for offset, other in sorted(placed, key=lambda pair: pair[0]):
            if other.meets(life) and low + life.size > offset and offset + other.size > low:
                low = offset + other.size
        placed.append((low, life))
    return {life.name: offset for offset, life in placed}


def _end(blocks: Sequence[Life], offsets: Mapping[str, int]) -> int:
    return max((offsets[life.name] + life.size for life in blocks), default=0)
