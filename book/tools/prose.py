"""Sentences of the book that rank, quantify or recommend: ``python book/tools/prose.py book/solvers/grids.md ...``.

Nothing asserts prose. A sentence that says what is better, how much, or what to use belongs into a cell
(``show.claim``), where it is printed only if it holds. One that stands outside has a reason in ``tests/data/prose.txt``
from the closed list ``REASONS``; what stands in a theorem or its proof has it by its place. What is looked at:
paragraphs, lists, blocks with their titles, and captions of a page in MyST Markdown; of alt texts, which describe a
picture, verdicts and advice, and amounts, which their cell has to set or to assert. What is not: code, formulas,
headings, tables, exercises (they ask), and questions.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

NUMBER = (
    r"(?:\d[\d ]*(?:\.\d+)?|two|three|four|five|six|seven|eight|nine|ten|twenty|thirty|fifty|hundred|thousand|million)"
)
PART = r"(?:third|quarter|fifth|sixth|seventh|eighth|ninth|tenth|twelfth|twentieth|hundredth|thousandth|millionth)"
COST = r"(?:errors?|costs?|price|time|work|memory|evaluations|steps|contrast|variance|advantage|gain|loss|distance)"
"""What a comparison of samplers is about."""

TREND = (
    r"(?:halves?|doubles?|triples?|vanish(?:es)?|disappears?|rises?|falls?|drops?|decays?|saturates?|explodes?|"
    r"levels? off|climbs?|increases?|decreases?|declines?)"
)

RANKS = re.compile(
    r"\b(?:better|best|worse|worst|beats?|beaten|wins?|loses|outperforms?|superior|inferior|"
    r"(?!rather|other)\w+er than|(?:more|less) \w+ than|the (?:most|least)|[a-z]{2,}est|"
    r"faster|slower|fewer|cheaper|nearer|closer|smaller|larger|stronger|weaker|longer|shorter|"
    r"(?:more|less|most|least) (?:accurate|precise|efficient|exact|stable|expensive|important|sensitive|often)|"
    r"as (?!soon as|long as|far as|it )\w+ as|no difference|"
    r"grows?|shrinks?|fades?|gains|improves?|dominates?|helps?|hurts?|pays?|costs? (?:more|less|nothing)|"
    r"for nothing|matters? (?:more|most|less|little)|hardly matters?|"
    r"(?:comes?|is|are|be|among the|goes) first|first places?|ahead of|"
    # without -er
    r"unrivall?ed|unmatched|unbeat\w+|second to none|cannot (?:compete|match|keep up)|(?:comes?|gets?) (?:close|near)|"
    r"(?:method|sampler|solver|grid) of choice|state of the art|leads? (?:on|in|by|everywhere|the (?:table|list|race))|"
    r"waste[sd]?|wasting|wasteful|pointless|useless|decisive|superfluous|"
    r"(?:differences?|errors?|effects?|gains?|loss(?:es)?|defects?|it|they) (?:is|are|stays?|becomes?) "
    r"(?:\w+ )?(?:invisible|negligible|immaterial|irrelevant)|"
    r"(?:invisible|negligible) (?:differences?|errors?|effects?|gains?|loss(?:es)?)|"
    r"robust(?:ness)?|harm(?:s|less|ful)|spoils?|ruins?|rivals|on a par|makes? up for|"
    r"(?:is|are|be|stays?|becomes?|remains?) (?:very |quite |too |so |also |equally |as |just )?"
    r"(?:good|bad|poor|fast|slow|cheap|expensive|dear|accurate|inaccurate|reliable|unreliable|safe|unsafe|excellent|"
    r"competitive|comparable|efficient|overkill|unusable|hopeless)|"
    r"by far|far (?:above|below|from|behind)|falls? (?:behind|short)|lags? behind|trails?|tops|on top(?! of)|"
    r"overtakes?|in front|catch(?:es)? up|gives? way|reliably|"
    r"hopeless(?:ly)?|dwarf(?:s|ed)?|rescues?|(?:at|near) the (?:top|bottom) of (?:the|a|every) (?:table|list|race)|"
    r"indistinguishable|evaporates?|reigns?|perfect (?:for|in|on)|nothing (?:\w+ )?gained|thrown away|idle|"
    rf"(?:is|are|comes?|come) (?:for )?free(?! of| to)|quarters (?:the|its|their) {COST}|"
    r"(?:models?|networks?|samplers?|solvers?|methods?) (?:wants?|loves?|hates?)|"
    r"hard to (?:top|beat|match|better)|buys? (?:nothing|little|much|more|less)|wishful|outweighs?|eats? up|excels?|"
    r"tolerates?|disappoint\w*|immune|shines?|suits?|suffers?|equivalent to|plenty|plentiful|ample|a mere|"
    r"(?:nearly |almost )?any (?:\w+ )?(?:will|would) do|gaps? closes?|erases?|without (?:any )?loss|transfers? to|"
    r"(?:^|[:;] )only (?!if|then|where|when|after|with|for|on|in|at|by|the|this|that|these|a |an )\w+|"
    # how one thing goes with another
    rf"(?:halv|doubl|tripl|quadrupl)es? (?:the|its|their|this|that) {COST}|"
    rf"(?:(?!time |steps |evaluations ){COST}|quality|accuracy|differences?|"
    r"deficits?|effects?|benefits?|correlation|stiffness|floor)"
    rf"(?: then| also| only| soon| quickly)? (?:and \w+ )?{TREND}|"
    rf"(?:it|they) {TREND} (?:with|above|below|beyond|by|at)|"
    r"in proportion)\b",
    re.IGNORECASE,
)
"""Words that put one thing before another, or say how one goes with another."""

QUANTIFIES = re.compile(
    r"(?<![\w.])\d+\.\d+(?![\w.])|\b\d(?:\.\d+)?e[-−]\d+|\b\d+(?:\.\d+)?\s?%|\b\w+fold\b|"
    rf"\b(?:{NUMBER} (?:times|orders of magnitude)|(?:one|{NUMBER}) per ?cent)\b|\b(?:a )?factors? (?:of )?{NUMBER}\b|"
    rf"\b(?:more|less|fewer) than (?:half|twice|a|one|{NUMBER})\b|\b(?:twice|thrice|half|double) (?:as|the|of|its)\b|"
    r"\b(?:suffices?|is enough|are enough|most of|nearly all|almost all|hardly any|a (?:third|quarter|tenth) of)\b|"
    rf"\b(?:needs?|saves?|spares?) (?:only |just |about |at (?:most|least) |no more than |as few as )*"
    rf"(?:one|{NUMBER})\b|"
    rf"\b(?:every one|all|none|half|most|one|{NUMBER}) (?:out )?of (?:the |these |those |its |all )?{NUMBER}\b|"
    r"\b(?:several|many) times (?:as|the|more|less|\w+er)\b|\borders of magnitude\b|\ba fraction of the\b|"
    r"\ba few per ?cent\b|"
    rf"\b(?:a|one|{NUMBER}) (?:half|{PART})s? of\b|\b(?:to|by|off|in) (?:a|one|{NUMBER}) (?:half|{PART})s?\b(?!-)|"
    rf"\b(?:below|above|past|beyond|under) {NUMBER} (?:\w+ )?(?:steps|evaluations|answers)\b|"
    r"\b(?:once|twice|thrice) (?:what|that)\b|"
    rf"\bone (?:(?:evaluation|step|sample|image|run|paper) )?in {NUMBER}\b|"
    rf"\bwithin (?:a|one|half a|{NUMBER}) (?:\w+ )*of (?:the )?(?:truth|exact|limit|optimum|best|it)\b|"
    rf"\bto (?:about |some )?{NUMBER} (?:\w+ )?digits\b|\bparts in a\b|\bthe (?:bulk|lion's share) of\b|"
    r"\baccounts? for\b|"
    rf"\bonly (?:one|{NUMBER}) (?:of|has|have|is|are|does|do)\b|\bno (?:number|amount) of\b",
    re.IGNORECASE,
)
"""Measured amounts; whole numbers alone count things, name orders and years, and set problems up."""

THING = (
    r"(?:the |a |an |at (?:least|most) |no more than |more |fewer |no |its |another )*(?:[\w-]+ )?"
    r"(?:(?-i:[A-Z][\w+-]*[A-Z]|Heun|Euler|Adams|Karras)|\ue002|samplers?|solvers?|schedulers?|grids?|spacing|"
    rf"correctors?|noise|(?:{NUMBER}|more|fewer) (?:steps|evaluations))"
)
"""What is advised."""

RECOMMENDS = re.compile(
    r"\b(?:recommend\w*|should|prefer\w*|avoid|advice|advise|worth (?:it|the|its)|(?:good|right|wise|safe) choice|"
    r"(?:^|[:;] )(?:use|choose) |sticks? (?:to|with)|(?:is|are|be) (?:the )?way to go|ideal(?:ly)?|overkill|"
    r"deserves?|opt(?:s|ed)? for|favou?rs?|safely|(?:strikes?|right) (?:\w+ )*balance|"
    r"all (?:that )?(?:one|you|we|it) (?:needs?|requires?)|"
    r"advisable|needs? (?:only|just|the (?:last|first))|a must|no reason (?:to|not to)|beware)\b|"
    rf"(?:^|[,:;(] |\b(?:then|and|or|rather|better) )"
    rf"(?:take|use|choose|pick|try|keep|go for|switch to|start with) {THING}",
    re.IGNORECASE,
)
"""What to use."""

THEIRS = (
    r"(?:librar(?:y|ies)|papers?|codes|programs|ports|pipelines|authors|networks|implementations?|repository|repositories|"
    r"people|users|textbooks?|practitioners?|courses|lectures|tutorials|lecturers|curricula|schools|surveys)"
)
OURS = r"(?:samplers|solvers|schedulers|grids|methods|rules|tables?)"
ATTRIBUTE = (
    r"(?:other|published|known|existing|common|popular|modern|current|shipped|official|weighted|guided|stochastic|fast)"
)
GENERALISES = re.compile(
    rf"\b(?:(?:most|many|few) (?:{ATTRIBUTE} )*(?:{THEIRS}|{OURS})|"
    rf"(?:all|every|no|none of the|half of the) (?:{ATTRIBUTE} )*{THEIRS}|"
    rf"(?:all|every|no|none of the|half of the) (?:{ATTRIBUTE} )+{OURS}|"
    rf"(?:(?!users|people){THEIRS} (?:\w+ ){{0,4}}(?:have|had|share|teach(?:es)?|begins?|uses?) "
    r"(?:\w+ )?(?:the same|much|similar|alike)|"
    r"(?:nearly|almost|roughly|largely|essentially|much|practically|more or less) (?:the same|identical|alike)|"
    rf"(?!users|people){THEIRS} (?:have|had)|{THEIRS} (?:often|always|never|all|tend))|"
    r"usually|often|mostly|typically|commonly|rarely|seldom|in practice|everybody|everyone|"
    r"(?:nobody|no one) (?:has|uses|proves|reports|tests|measures|publishes)|(?:in|from) (?:the|any|no) literature)\b",
    re.IGNORECASE,
)
"""Words about what others have written or do."""

VERDICTS = re.compile(
    r"\b(?:better|best|worse|worst|beats?|wins?|outperforms?|superior|inferior|unrivall?ed|cannot compete|"
    r"(?:method|sampler|solver|grid) of choice|(?:is|are) (?:good|bad|poor)|pays?|helps?|hurts?)\b",
    re.IGNORECASE,
)
"""What an alt text may not rank by: how curves lie, and at which values of their axes, is what it is there to say."""

COUNTED = {
    "zero": 0, "one": 1, "two": 2, "three": 3, "four": 4, "five": 5, "six": 6, "seven": 7, "eight": 8, "nine": 9,
    "ten": 10, "eleven": 11, "twelve": 12, "sixteen": 16, "twenty": 20, "thirty": 30, "forty": 40, "fifty": 50,
    "sixty": 60, "eighty": 80, "hundred": 100, "thousand": 1000,
}  # fmt: skip
NUMERAL = re.compile(r"(?<![\w.])\d+(?:\.\d+)?(?:e-?\d+)?")
WORD = rf"(?:{'|'.join(COUNTED)})(?:-(?:{'|'.join(COUNTED)}))?"
PARTS = r"(?:half|halves|third|quarter|fifth|tenth|hundredth|thousandth|ten-thousandth|millionth)s?"
DRAWN = (
    r"(?:panels?|curves?|lines?|rows?|columns?|peaks?|bands?|branch\w*|humps?|dots?|others?|bundles?|ones?|pieces?|"
    r"samples?|starts?|paths?|methods?|sheaves|points?|spirals|evaluations|steps?|levels?|groups|that)"
)
MEASURED = (
    rf"\bslopes? (?:of )?(?:about |minus )?(?:{WORD}|\d)|\b(?:twice|thrice|\w+fold|orders of magnitude|decades?|"
    rf"per ?cent|millionths?)\b|\b(?:by|of) an? factor\b|\b(?:{WORD}|several|many) times "
    rf"(?:as|the|more|less|in|\w+er)\b|\b(?:a|an|one|{WORD}) {PARTS}\b|\bhalf (?:as|of|the|way)\b|\bthrough a half\b"
)
AMOUNTS = re.compile(
    rf"{MEASURED}|(?<![\w.+-])(?:minus )?\d+(?:\.\d+)?(?:e-?\d+)?(?![\w(]|-\w)|"
    r"\b(?:at|to|near|about|below|above|from|until|before|after|than|beyond) (?:about |minus )?"
    rf"{WORD}\b(?! (?:\w+ ){{0,2}}{DRAWN}\b)|"
    rf"\bbetween {WORD} and {WORD}\b|\b{WORD} times in\b",
    re.IGNORECASE,
)
"""Amounts in an alt text: values, slopes and multiples; how many curves, panels or rows there are, is no amount."""

NAMES = re.compile(
    r"\b(?:Adams(?:-Bashforth)?|UniPC|UniP|UniC|GHVB|stage|orders?|xi|tau|a|b|q|k) "
    r"\d+(?: \d)?(?:,? (?:and|to) \d|, \d)*\b|"
    r"\b(?:two|three)-(?:step|stage)\b|\bfrom one (?:step|way|end)\b|\babout zero with\b|\bbeside zero\b",
    re.IGNORECASE,
)
"""Numbers that belong to names, and the axis."""

NEVER = re.compile(r"(?!)")
KINDS = (RANKS, QUANTIFIES, RECOMMENDS, GENERALISES)
PICTURED_KINDS = (VERDICTS, AMOUNTS, RECOMMENDS, NEVER)

IDIOMS = re.compile(
    r"\b(?:at (?:best|worst|least|most)|best[- ]known|helps? to|pytest|test|rest|interest|request|suggest|honest|"
    r"how (?:often|many|much|good)|as often as|ideal\*? (?:denoiser|prediction|model)|"
    r"modest|manifest|harvest|nearest|latest|newest|oldest|no longer|"
    r"(?:sections?|theorems?|chapters?|eqs?\.|figures?|tables?|appendix|versions?) [\d.]+)\b",
    re.IGNORECASE,
)
"""Words that only look as if they ranked, and numbers of places in a source."""

CODE = frozenset({"code-cell", "package-source", "literalinclude", "math", "figure", "image", "raw", "toctree", ""})
ASKS = frozenset({"exercise", "playground", "exercise-start", "glossary", "bibliography"})
"""Blocks without statements: code, and what asks or defines."""

TITLED = frozenset({"admonition", "note", "tip", "warning", "important", "dropdown", "grid-item-card", "card"})
"""Blocks whose title is a sentence of the page; a theorem's is part of the theorem."""

FENCE = re.compile(r"^\s*(?P<fence>`{3,}|:{3,}|~{3,})(?:\{(?P<name>[\w:-]+)\}|(?P<language>[\w-]*))[ ]*(?P<title>.*)$")
MASK = re.compile(r"\{(?P<role>[a-z:]+)\}`(?P<text>[^`]*)`|`[^`]+`|\$[^$]+\$|\]\([^)]*\)|<[^>]+>")
BOUNDARY = re.compile(r"(?<=[.!?])[)\"”*]*\s+(?=[^a-z\s])")
ABBREVIATION = re.compile(r"(?:\b(?:e\.g|i\.e|cf|vs|eq|eqs|sec|fig|app|al|no|p|pp)|\b[A-Z])\.[)\"”*]*$")
ALONE = re.compile(
    r"\$\s*(?:\\approx|<|>|\\sim)?\s*(?:(?:\d+(?:\.\d+)?\s*(?:\\cdot|\\times)\s*)?10\^\{?-\d+\}?|\d+\.\d+)\s*\$"
)
PICTURED = re.compile(r"\balt=((?:\s*f?\"[^\"\n]*\")+)")
STRING = re.compile(r"\"([^\"\n]*)\"")
"""What the code of a cell says that its pictures show."""

SOURCE = re.compile(r"\bat `?[0-9a-f]{8}\b|\b[\w.-]+/[\w.-]+#\d+")


@dataclass(frozen=True)
class Sentence:
    """One that ranks, quantifies or recommends, and what stands around it."""

    text: str
    """Without roles, on one line."""
    line: int
    """Where its paragraph begins."""
    block: str
    """Innermost directive that it stands in, such as ``prf:proof`` or ``solution``; empty in the running text."""
    ranks: tuple[str, ...]
    """Words by which it was found to rank,"""
    amounts: tuple[str, ...]
    """to quantify,"""
    advice: tuple[str, ...]
    """to recommend,"""
    sweeps: tuple[str, ...]
    """and to speak of what others do."""
    cites: bool
    """A source is cited in its paragraph: a key, or a commit or thread of a repository."""
    refers: bool
    """Its paragraph links a chapter or section"""
    proved: bool
    """or a theorem or equation."""
    calculates: bool
    """Its paragraph has a formula."""
    section: Section
    """All that stands under the same heading."""

    @property
    def numbers(self) -> set[float]:
        """Numbers among its amounts, also those in words."""
        told = re.sub(
            rf"\b(?:{'|'.join(COUNTED)})\b", lambda m: str(COUNTED[m[0].lower()]), " ".join(self.amounts), flags=re.I
        )
        return {float(one) for one in NUMERAL.findall(told)}

    @property
    def start(self) -> str:
        """Its first words, by which the list knows it."""
        return self.text if len(self.text) <= START else self.text[:START].rpartition(" ")[0]


@dataclass
class Section:
    """What else stands under a heading, or in a solution."""

    code: list[str] = field(default_factory=list)
    """Lines of its cells."""
    proofs: int = 0
    formulas: int = 0

    @property
    def literals(self) -> set[float]:
        """Numbers in the code."""
        return {float(one) for line in self.code for one in NUMERAL.findall(line)}

    @property
    def asserts(self) -> bool:
        """Some cell checks what it shows."""
        return any(re.search(r"^\s*assert\b|show\.claim\(", line) for line in self.code)

    @property
    def shows(self) -> bool:
        """Some cell shows a table, figure, formula or output."""
        return any(re.search(r"show\.|print\(", line) for line in self.code)


def sentences(page: str) -> list[Sentence]:
    """Sentences of a page that rank, quantify or recommend, outside of cells."""
    return [found for paragraph in _paragraphs(page) for found in _found(paragraph)]


@dataclass(frozen=True)
class _Paragraph:
    """Lines that belong together."""

    text: str
    line: int
    block: str
    section: Section


def _paragraphs(page: str) -> Iterator[_Paragraph]:
    """Running text, block by block; a solution is a section of its own, so that it cannot borrow another's cell."""
    lines = page.splitlines()
    start = lines.index("---", 1) + 1 if lines[:1] == ["---"] else 0
    section = heading = Section()
    blocks = [("", "")]  # fence that closes it, and name
    gathered: list[str] = []
    picture = Section()  # the cell that is passed over
    skipped: list[str] = []  # fence of a block that is left out, and its name
    cell: list[str] = []  # lines of the one that is passed over
    caption = ""  # indentation of the one that is read
    formula, begun = False, 0

    def done(block: str | None = None) -> Iterator[_Paragraph]:
        if gathered:
            yield _Paragraph(" ".join(gathered), begun, blocks[-1][1] if block is None else block, section)
        gathered.clear()

    for number, line in enumerate([*lines[start:], ""], start + 1):
        begun = begun if gathered else number
        fence = FENCE.match(line)
        if skipped:
            if line.strip() == skipped[0]:
                skipped.clear()
                for said in PICTURED.findall("\n".join(cell)):
                    yield _Paragraph("".join(STRING.findall(said)), begun, "alt", picture)
                cell.clear()
            elif skipped[1] == "code-cell":
                section.code.append(line)
                cell.append(line)
                if alt := re.match(r" +alt: (.*)", line):
                    yield _Paragraph(alt[1], number, "alt", picture)
                elif not re.match(r" {2,6}(?:caption|alt|name):", line) and not (caption and line.startswith(caption)):
                    picture.code.append(line)
                if caption and line.startswith(caption):
                    gathered.append(line.strip())
                elif caption or re.fullmatch(r" +caption: \|", line):
                    yield from done("caption")
                    caption = "" if caption else " " * (len(line) - len(line.lstrip()) + 1)
        elif formula or line.startswith("$$"):
            yield from done()
            if line.startswith("$$") and (formula or len(line) == 2 or not line.rstrip().endswith("$$")):
                formula = not formula
            section.formulas += 1
        elif fence and line.strip() == blocks[-1][0]:
            yield from done()
            if blocks.pop()[1] == "solution":
                section = heading
        elif fence:
            yield from done()
            name = fence["name"] or ""
            if name in CODE | ASKS:
                picture = Section()
                skipped += [fence["fence"], name]
            elif name == "solution-end":
                blocks[-1] = (fence["fence"], "solution")
            else:
                section.proofs += name.startswith("prf:")
                if name in TITLED:
                    yield _Paragraph(fence["title"], number, name, section)
                if name.startswith("solution"):
                    section = Section()
                blocks += [("", "solution")] if name == "solution-start" else []
                blocks.append((fence["fence"], name))
        elif line.startswith("#"):
            yield from done()
            section = heading = Section()
        elif not line.strip() or re.match(r"\s*(?:\||\([\w-]+\)=|:[\w-]+:|\+\+\+|<)", line):
            yield from done()
        elif re.match(r"\s*(?:[-*]|\d+\.|:) ", line):
            yield from done()
            gathered.append(re.sub(r"^\s*(?:[-*]|\d+\.|:) ", "", line).strip())
        else:
            gathered.append(line.strip())


def _found(paragraph: _Paragraph) -> Iterator[Sentence]:
    """Sentences of a paragraph that say too much to go unchecked."""
    masks: list[str] = []

    def hide(match: re.Match[str]) -> str:
        masks.append(match[0])
        return f"\ue000{len(masks) - 1}\ue001"

    cites = bool(re.search(r"\{cite", paragraph.text) or SOURCE.search(paragraph.text))
    refers, proved = (
        bool(re.search(role, paragraph.text)) for role in (r"\{(?:ref|numref|doc)\}", r"\{(?:prf:ref|eq)\}")
    )
    kinds = PICTURED_KINDS if paragraph.block == "alt" else KINDS
    for hidden in _split(MASK.sub(hide, paragraph.text)):
        shown = re.sub(r"\ue000(\d+)\ue001", lambda m: _plain(masks[int(m[1])]), hidden)
        idle = NAMES if paragraph.block == "alt" else IDIOMS
        bare = idle.sub("", re.sub(r"\ue000(\d+)\ue001", lambda m: _number(masks[int(m[1])]), hidden))
        words = [tuple(m[0].strip() for m in rule.finditer(bare)) for rule in kinds]
        if any(words) and not shown.rstrip('*)"”').endswith("?"):
            place = paragraph.line, paragraph.block
            yield Sentence(shown, *place, *words, cites, refers, proved, "$" in paragraph.text, paragraph.section)


def _split(text: str) -> list[str]:
    """Sentences, abbreviations not being their ends."""
    parts: list[str] = []
    for part in BOUNDARY.split(text):
        if parts and ABBREVIATION.search(parts[-1]):
            parts[-1] += " " + part
        else:
            parts.append(part)
    return parts


def _number(masked: str) -> str:
    """A number that is all of a formula counts as one; other code and formulas, and the words of links, do not."""
    return "0.5" if ALONE.fullmatch(masked) else "\ue002" if masked.startswith("`") else "\ue000"


def _plain(masked: str) -> str:
    """What is seen of a role, a formula or code."""
    role = MASK.fullmatch(masked)
    if role is None or role["role"] is None:
        return masked
    return re.sub(r"\s*<[^>]*>$", "", role["text"])


# -- reasons -----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Reason:
    """Why a sentence may stand outside of a cell."""

    meaning: str
    holds: Callable[[Sentence], bool] = lambda _: True
    """What can be seen of it on the page."""


REASONS: Mapping[str, Reason] = {
    "computed": Reason("a cell under the same heading asserts it", lambda s: s.section.asserts),
    "shown": Reason("a table, figure or output under the same heading shows it", lambda s: s.section.shows),
    "theorem": Reason(
        "a theorem or proof under the same heading, or one that is linked, says it",
        lambda s: s.section.proofs > 0 or s.proved,
    ),
    "derived": Reason("follows from formulas beside it", lambda s: s.calculates or s.section.formulas > 0),
    "reasoned": Reason(
        "a conclusion from what the paragraph says, neither an amount nor about others",
        lambda s: not s.amounts and not s.sweeps,
    ),
    "linked": Reason("computed on the page that is linked", lambda s: s.refers),
    "cited": Reason("said by the source, or seen in the code, that is cited", lambda s: s.cites),
    "set-up": Reason("says what is done: data, model, grid, measure, rule"),
    "definition": Reason("says what a word or a name means"),
    "contents": Reason("says what a page or section is about", lambda s: not s.amounts or s.block == "admonition"),
    "history": Reason("says what was said or done before"),
    "wording": Reason("ranks nothing: the word has another sense here", lambda s: not s.amounts),
    "drawn": Reason(
        "the numbers of an alt text are those that its cell sets, none was measured",
        lambda s: (
            s.block == "alt" and not re.search(MEASURED, s.text, re.IGNORECASE) and s.numbers <= s.section.literals
        ),
    ),
}
"""The closed list of reasons."""

START = 60
"""Signs of a sentence that the list has at most."""


def entries(text: str) -> dict[tuple[str, str], str]:
    """The list: page and beginning of a sentence -> reason; lines with a hash are remarks."""
    rows = [line.split("\t") for line in text.splitlines() if line and not line.startswith("#")]
    found = {(page, start): reason for page, reason, start in rows}
    if len(found) != len(rows):
        msg = "a sentence is listed twice"
        raise ValueError(msg)
    return found


def problems(pages: Mapping[str, str], listed: Mapping[tuple[str, str], str]) -> Iterator[str]:
    """What is wrong: sentences without a reason, reasons that do not hold, and entries whose sentence is gone."""
    found = {
        (name, one.start): one
        for name, page in pages.items()
        for one in sentences(page)
        if not one.block.startswith("prf:")
    }
    for (name, start), one in found.items():
        reason = listed.get((name, start))
        words = ", ".join([*one.ranks, *one.amounts, *one.advice, *one.sweeps])
        if reason is None:
            yield f"{name}:{one.line} is not computed ({words}): {one.text}"
        elif reason not in REASONS:
            yield f"{name}:{one.line} has the unknown reason {reason!r}; there are {', '.join(REASONS)}"
        elif one.block == "alt" and one.amounts and reason not in {"computed", "drawn"}:
            yield f"{name}:{one.line} names an amount in an alt text that its cell neither sets nor asserts: {one.text}"
        elif not REASONS[reason].holds(one):
            yield f"{name}:{one.line} is not {reason!r} ({REASONS[reason].meaning}): {one.text}"
    for name, start in listed.keys() - found.keys():
        yield f"{name} no longer says: {start}"


def main(names: Iterable[str]) -> None:
    """Print the sentences of pages."""
    for name in names:
        for one in sentences(Path(name).read_text(encoding="utf-8")):
            words = [*one.ranks, *one.amounts, *one.advice, *one.sweeps]
            print(f"{name}:{one.line} ({one.block or 'text'}) {words} {one.text}")


if __name__ == "__main__":
    main(sys.argv[1:])
