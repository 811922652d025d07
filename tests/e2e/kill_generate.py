"""kill -9 of `python generate` at random moments, resumed each time: nothing lost, nothing completed sent twice, replay identical.

By hand: `python tests/e2e/kill_generate.py --kills 20`, or `--kills 3 --engine vllm`; for `--engine server` name the addresses:
`--set 'run.engine.servers=["http://127.0.0.1:8000", "http://127.0.0.1:8001"]'`. With the scripted engine the corpus must equal
that of the unbroken run byte for byte, but for the time in its card; a real engine may answer differently when its batches
differ, so there the share of identical completions is told. The moments are drawn from --seed, in answers journaled, so that
they lie all over the run.
"""

from __future__ import annotations

import argparse
import json
import random
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path

from self_instruct.generate.card import TIME
from self_instruct.loading import REPOSITORY
from self_instruct.rundir import sha256

PROGRAM = Path(__file__).with_name("logged_generate.py")
LAST_SHARE = 0.9  # of the unbroken run's answers: no kill is planned for later, but for the one while the products are written
POLL_S = 0.002
SCRIPTED = ("generate.target_instructions=120", "generate.max_requests=200", "run.engine.max_num_seqs=16")


@dataclass(kw_only=True)
class Report:
    """What a run came to that was killed `kills` times. All but the counts above the line must be 0 or true."""

    kills: int = 0
    completions: int = 0
    requests_sent: int = 0
    answered_but_killed_before_the_journal: int = 0  # asked again, as nobody had them
    unbroken_completions: int = 0
    asked_in_both: int = 0
    same_request_in_both: int = 0
    identical_completions: int = 0
    # ---
    lost: list[str] = field(default_factory=list)
    completed_and_sent_again: list[str] = field(default_factory=list)
    left_behind: list[str] = field(default_factory=list)
    replay_identical: bool = False
    corpus_equal: bool = False

    def failures(self, engine: str) -> list[str]:
        """The promises that were broken."""
        broken = [name for name in ("lost", "completed_and_sent_again", "left_behind") if getattr(self, name)]
        broken += [] if self.replay_identical else ["replay_identical"]
        return broken + (["corpus_equal"] if engine == "scripted" and not self.corpus_equal else [])


class Killed:
    """One run folder, the command that makes it, and the log of each of its sessions."""

    def __init__(self, folder: Path, name: str, arguments: list[str]) -> None:
        self.run, self._logs, self._arguments = folder / name, folder / f"{name}-logs", arguments
        self._logs.mkdir(parents=True)
        self.sessions = 0

    def start(self, delay_s: float) -> subprocess.Popen[bytes]:
        self.sessions += 1
        argv = [sys.executable, str(PROGRAM), str(self._log(self.sessions)), str(delay_s), *self._arguments, "--out", str(self.run)]
        with self._log(self.sessions).with_suffix(".stderr").open("wb") as errors:
            return subprocess.Popen(argv, stdout=subprocess.DEVNULL, stderr=errors, cwd=REPOSITORY)

    def finish(self) -> None:
        if self.start(0.0).wait() != 0:
            raise SystemExit(f"the run ended with an error:\n{self._log(self.sessions).with_suffix('.stderr').read_text()}")

    def _log(self, session: int) -> Path:
        return self._logs / f"{session:03d}.txt"

    def logged(self, session: int, event: str) -> list[str]:
        """The ids that were `sent` or `answered` in a session, in order."""
        log = self._log(session)
        lines = log.read_text(encoding="utf-8").splitlines() if log.exists() else []
        return [line.removeprefix(f"{event} ") for line in lines if line.startswith(f"{event} ")]

    @property
    def journal(self) -> Path:
        return self.run / "generate" / "journal" / "completions.jsonl"

    def lines(self) -> list[bytes]:
        """The journal's whole lines."""
        return self.journal.read_bytes().split(b"\n")[:-1] if self.journal.exists() else []

    def known(self) -> dict[str, bytes]:
        return {json.loads(line)["id"]: line for line in self.lines()}

    def writing(self) -> bool:
        """Whether the products are being written."""
        return any((self.run / "generate").glob(".products.*"))


def survive(folder: Path, kills: int, *, engine: str, arguments: list[str], seed: int, against: Path | None = None) -> Report:
    """Make the unbroken run (or take the one at `against`), then one that is killed, and compare them."""
    scripted = engine == "scripted"
    # Slow enough for every kill to come in time; a real engine is slow by itself.
    delay_s, pause_s = (0.1 * kills, 0.4) if scripted else (0.0, 5.0)
    unbroken = Killed(folder, "unbroken", arguments)
    if against:
        unbroken.run = against
    else:
        unbroken.finish()
    draws = random.Random(seed)
    answers = int(len(unbroken.lines()) * LAST_SHARE)
    moments = sorted(draws.randrange(answers) for _ in range(kills - 1))
    killed, report = Killed(folder, "killed", arguments), Report()
    before: dict[str, bytes] = {}

    def note() -> None:
        """What this session did to what the journal held before it."""
        nonlocal before
        now, session = killed.known(), killed.sessions
        again = set(killed.logged(session, "sent")) & before.keys()
        report.completed_and_sent_again += sorted(again)
        report.lost += sorted(name for name, line in before.items() if now.get(name) != line)
        report.answered_but_killed_before_the_journal += len(set(killed.logged(session, "answered")) - now.keys())
        before = now

    for moment in [*moments, None]:
        process = killed.start(delay_s if moment is not None else 0.0)
        while process.poll() is None and not (killed.writing() if moment is None else len(killed.lines()) >= moment):
            time.sleep(POLL_S)
        time.sleep(draws.uniform(0, 0.2 if moment is None else pause_s))
        process.send_signal(signal.SIGKILL)
        report.kills += process.wait() == -signal.SIGKILL
        note()
    killed.finish()
    note()
    report.completions = len(killed.lines())
    report.lost += [f"{report.completions - len(before)} lines twice"] * (report.completions != len(before))
    report.requests_sent = sum(len(killed.logged(session, "sent")) for session in range(1, killed.sessions + 1))
    stage = killed.run / "generate"
    report.left_behind = sorted(path.name for path in stage.iterdir() if path.name.endswith(".tmp"))
    compare(report, unbroken.known(), before)
    report.corpus_equal = content(stage / "corpus") == content(unbroken.run / "generate" / "corpus")
    report.replay_identical = replayed(killed.run)
    return report


def content(corpus: Path) -> tuple[str, str]:
    """The hash of the data and the card, without the card's last section: how long it took, in how many sessions."""
    return sha256(corpus / "data"), (corpus / "README.md").read_text(encoding="utf-8").split(TIME)[0]


def compare(report: Report, unbroken: dict[str, bytes], killed: dict[str, bytes]) -> None:
    """Count what both runs asked, and what was answered the same."""
    pairs = [(json.loads(unbroken[name]), json.loads(killed[name])) for name in sorted(unbroken.keys() & killed.keys())]
    report.unbroken_completions, report.asked_in_both = len(unbroken), len(pairs)
    report.same_request_in_both = sum(one["payload"] == other["payload"] for one, other in pairs)
    report.identical_completions = sum(one["text"] == other["text"] for one, other in pairs)


def replayed(run: Path) -> bool:
    """Whether `generate replay` gives the corpus that is there, byte for byte."""
    corpus = run / "generate" / "corpus"
    wrote = sha256(corpus)
    done = subprocess.run([sys.executable, "generate", "replay", str(run)], capture_output=True, text=True, cwd=REPOSITORY)
    if done.returncode:
        print(done.stderr, file=sys.stderr)
    return done.returncode == 0 and sha256(corpus) == wrote


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n\n")[0])
    parser.add_argument("--kills", type=int, default=20, metavar="N", help="default: 20; the last while products are written")
    parser.add_argument("--engine", choices=("scripted", "vllm", "server"), default="scripted")
    parser.add_argument("--config", default="configs/tiny.yaml", metavar="FILE", help="default: configs/tiny.yaml")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", dest="overrides", help="a setting of the runs")
    parser.add_argument("--seed", type=int, default=1, metavar="N", help="of the moments (default: 1)")
    parser.add_argument("--against", type=Path, metavar="RUN", help="compare with this finished run; without, one is made first")
    parser.add_argument("--keep", type=Path, metavar="DIR", help="leave the runs and logs in this new folder")
    asked = parser.parse_args()
    if asked.kills < 1:
        parser.error("--kills: at least 1")
    with tempfile.TemporaryDirectory() as temporary:
        folder = (asked.keep or Path(temporary)).absolute()
        arguments = stage_arguments(asked.engine, asked.config, asked.overrides)
        against = asked.against.absolute() if asked.against else None
        report = survive(folder, asked.kills, engine=asked.engine, arguments=arguments, seed=asked.seed, against=against)
    print(json.dumps(asdict(report), indent=2))
    broken = report.failures(asked.engine)
    print(f"broken: {', '.join(broken)}" if broken else f"{report.kills} kills survived", file=sys.stderr)
    return 1 if broken else 0


def stage_arguments(engine: str, config: str = "configs/tiny.yaml", overrides: list[str] | None = None) -> list[str]:
    """The stage's arguments without `--out`; with the scripted engine a run of some hundred requests."""
    settings = [f"model.engine={engine}", *(SCRIPTED if engine == "scripted" else ()), *(overrides or [])]
    return ["--config", config, *(word for setting in settings for word in ("--set", setting))]


if __name__ == "__main__":
    sys.exit(main())
