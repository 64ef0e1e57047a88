"""Speech in, a served Whisper out: preprocess, fine-tune in branches, pick the best on validation, score, release.

python flows/whisper_flow.py run
python flows/whisper_flow.py --config profile flows/profiles/NAME.toml run
python flows/whisper_flow.py resume
"""

import os
import secrets
import signal
import sys
import tempfile
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

from asr import Refused, TakenOver, Terminated, compute, disk, settings, signals, story

names = (os.environ.get(name) for name in ("METAFLOW_USER", "SUDO_USER", "USERNAME", "USER"))
if all(name in (None, "", "root") for name in names):
    os.environ["METAFLOW_USER"] = "whisper"  # Metaflow asks for a name other than root; a bare container has none
if "METAFLOW_RUN_MAX_WORKERS" not in os.environ:
    os.environ["METAFLOW_RUN_MAX_WORKERS"] = str(compute.workers())
os.environ.setdefault("METAFLOW_RESUME_MAX_WORKERS", os.environ["METAFLOW_RUN_MAX_WORKERS"])
for command in ("RUN", "RESUME"):
    os.environ.setdefault(f"METAFLOW_{command}_MAX_NUM_SPLITS", "10000")  # parts of a corpus; Metaflow's own is 100

story.quiet()

from asr import cards, ends
from asr.pods import placed
from metaflow import Config, FlowSpec, Parameter, card, current, project, retry, step
from metaflow.exception import METAFLOW_EXIT_DISALLOW_RETRY


@contextmanager
def asked_to_end():
    """A request to end is no failure to show a traceback of."""
    try:
        yield
    except Terminated as asked:
        print(asked, file=sys.stderr)
        # An attempt that another one goes on from is not tried again.
        sys.exit(METAFLOW_EXIT_DISALLOW_RETRY if isinstance(asked, TakenOver) else 128 + signal.SIGTERM)


def profile(text):
    """A profile's text as plain, checked values with absolute paths; a bad one ends the command in one line."""
    try:
        return settings.load(text).model_dump(mode="json")
    except Refused as mistake:
        raise SystemExit(str(mistake)) from None


def tag(name):
    """Make the run findable. A tag that cannot be set, for want of a right or a service, ends nothing."""
    try:
        current.run.add_tag(name)
    except Exception as error:
        print(f"the run could not be tagged {name}: {error}", file=sys.stderr)


def captured_space(context):
    from asr.release import engine

    return engine.capture()


@placed()
@project(name="whisper_flow")  # so that the branches of a team do not collide on Argo
class WhisperFlow(FlowSpec):
    """From recordings to a served Whisper model, honestly scored."""

    profile = Config("profile", default=str(Path(__file__).parent / "profiles" / "sample.toml"), parser=profile)
    space = Parameter("space", default=captured_space, help="the Space's files, packed when the run is launched")

    @property
    def settings(self):
        return settings.Settings.model_validate(self.profile.to_dict())

    @property
    def about(self):
        """What every card says of its run."""
        return cards.Run(self.settings.name, self.created)

    @step
    def start(self):
        """Find the speech, and what the profile asks of it."""
        from asr import code_version
        from asr.corpus import recordings, sources
        from asr.release import ggml, hub
        from asr.store import Store
        from asr.training import search, trackers

        self.created = datetime.now(UTC).isoformat(timespec="seconds")  # a resumed run's is the first one's
        tag(f"profile:{self.settings.name}")
        if not compute.in_pod():
            disk.check(self.settings.release.folder, "[release] folder")
        trackers.check(self.settings)
        ggml.check(self.settings.release)
        hub.check(self.settings.release, wait=False)
        search.trials(self.settings)  # a base or a learning rate that cannot be is refused before any work
        recordings.check(self.settings.training)
        parts = sources.parts(self.settings.corpus)
        self.parts = [Store.of(self).put_object(part) for part in parts]  # so that a task reads no part but its own
        self.code_version = code_version()
        self.next(self.preprocess, foreach="parts")

    @card(type=cards.PAGE)
    @step
    def preprocess(self):
        """Judge each clip of a part, and pack those that are fit into shards."""
        from asr.corpus import joining, shards
        from asr.store import Store

        store = Store.of(self)
        self.packed, self.examples = shards.make(store.get_object(self.input), self.settings, store)
        print(self.packed)
        clips = joining.table(self.packed.shards)
        current.card.append(cards.preprocess(self.about, clips, self.packed.rejects, self.examples))
        self.next(self.collect)

    @card(type=cards.PAGE)
    @step
    def collect(self, inputs):
        """Join the parts' records; their audio stays where it is."""
        from asr.corpus import joining

        packed = [branch.packed for branch in inputs]
        joined = joining.join(packed, self.settings.corpus)
        self.shards, self.rejected, self.corpus = joined.shards, joined.rejected, joined.summary
        self.merge_artifacts(inputs, include=["code_version", "created"])
        joining.check(joined, self.settings.corpus)
        heard = [clip for at in joining.first(packed) for clip in inputs[at].examples]
        clips = joining.table(self.shards)
        current.card.append(cards.collect(self.about, clips, self.rejected, self.corpus, joined.taken_over, heard))
        self.next(self.search)

    @step
    def search(self):
        """Decide on the trials, and say what they will take."""
        from asr.corpus.joining import Joined
        from asr.training import gpu, limits, plan, search

        left = limits.fit(Joined(self.shards, self.rejected, self.corpus, 0), self.settings)
        self.shards, self.rejected, self.corpus = left.shards, left.rejected[["clip", "reason"]], left.summary
        self.trials = search.trials(self.settings)
        self.at_once, self.threads = compute.at_once(len(self.trials)), compute.threads(len(self.trials))
        if compute.in_pod():
            told = plan.elsewhere(self.settings, self.trials, self.corpus)
        else:
            told = plan.plan(
                self.settings, self.trials, self.shards, self.corpus, self.at_once, self.threads, compute.cores()
            ).text
        # A resumed run keeps it, and so finds its trials' checkpoints; a metadata service may number runs from 1 again.
        self.searched = f"{current.run_id}-{secrets.token_hex(4)}"
        print(told)
        if why := gpu.unused():
            print(why)
        self.next(self.train, foreach="trials")

    @card(type=cards.LIVE)
    @retry(times=2, minutes_between_retries=0)
    @step
    def train(self):
        """Fine-tune with one set of hyperparameters, from the trial's last checkpoint where it has one."""
        compute.use(compute.cores() if compute.in_pod() else self.threads)
        self.hardware = compute.hardware()
        from asr.corpus import shards
        from asr.store import Store
        from asr.training import halving, models, ranks, trial
        from asr.training.checkpoints import Checkpoints, place

        store, settings, number = Store.of(self), self.settings, self.input.number
        live = cards.Live(current.card, self.about, lambda standing: cards.train(self.input, standing, self.settings))
        keeper = Checkpoints(store, place(self.searched, self.input, settings, self.shards), settings.training)
        siblings = halving.Siblings(store, self.searched, number, len(self.trials))
        with tempfile.TemporaryDirectory() as scratch, asked_to_end():
            speech = shards.Speech(self.shards, Path(scratch, "shards"), store.fetch)
            self.outcome, model, processor = trial.fine_tune(
                self.input,
                settings,
                speech,
                lambda line: print(f"trial {number}  {line}", flush=True),
                keeper,
                siblings if settings.search.stop_losers else None,
                live,
                f"{settings.name}-{self.searched}/trial-{number}",
                ranks.count(settings),
            )
            self.weights_key = store.put_folder(models.save(Path(scratch, "model"), model, processor))
        self.next(self.select)

    @card(type=cards.PAGE)
    @step
    def select(self, inputs):
        """The lowest validation WER wins; the test set plays no part."""
        from asr.store import Store
        from asr.training import search
        from asr.training.checkpoints import Checkpoints, place

        outcomes = [branch.outcome for branch in inputs]
        self.leaderboard = search.leaderboard(outcomes)
        self.winner = self.leaderboard.iloc[0].to_dict()
        self.curves = {one.trial.number: one.curve for one in outcomes}
        self.outcome = next(one for one in outcomes if one.trial.number == self.winner["trial"])
        self.hardware = inputs[0].hardware
        self.weights_key = {branch.outcome.trial.number: branch.weights_key for branch in inputs}[self.winner["trial"]]
        self.merge_artifacts(inputs, include=["code_version", "corpus", "created", "rejected", "searched", "shards"])
        current.card.append(cards.select(self.about, self.leaderboard, outcomes, self.settings))
        for branch in inputs:
            where = place(self.searched, branch.outcome.trial, self.settings, self.shards)
            Checkpoints(Store.of(self), where, self.settings.training).clear()
        self.next(self.evaluate)

    @card(type=cards.PAGE)
    @step
    def evaluate(self):
        """Make the winner a release, and score that very folder once on test, beside the float model."""
        compute.use(compute.cores())
        from asr.corpus import shards
        from asr.release import candidate, engine
        from asr.store import Store

        store = Store.of(self)
        with tempfile.TemporaryDirectory() as scratch:
            speech = shards.Speech(self.shards, Path(scratch, "shards"), store.fetch)
            winner = store.fetch_folder(self.weights_key, Path(scratch, "winner"))
            facts = candidate.facts(
                self.settings, current.run_id, self.created, self.code_version, self.corpus, self.leaderboard,
                self.outcome, self.hardware,
            )  # fmt: skip
            ready = Path(scratch, "release")
            exam = candidate.make(ready, self.settings, winner, speech, engine.unpacked(self.space), facts)
            self.scores, self.report, self.breakdown = exam.scores, exam.report, exam.breakdown
            self.release_key = store.put_folder(ready)
        current.card.append(cards.evaluate(self.about, exam, self.settings))
        self.next(self.push)

    @card(type=cards.PAGE)
    @step
    def push(self):
        """Publish that very folder, here and on the Hub; the newest release moves only past the gate."""
        from asr.corpus import shards
        from asr.release import engine, gate, outlet
        from asr.store import Store

        checks = gate.checks(self.report, self.settings.release)
        with tempfile.TemporaryDirectory() as scratch:
            ready = Store.of(self).fetch_folder(self.release_key, Path(scratch, "release"))
            speech = shards.Speech(self.shards, Path(scratch, "shards"), Store.of(self).fetch)
            out = outlet.let_out(
                ready, current.run_id, self.settings, checks, self.scores, speech, engine.unpacked(self.space),
                here=not compute.in_pod(),
            )  # fmt: skip
        self.release, self.latest = out.release, out.latest
        current.card.append(cards.push(self.about, out, self.report))
        self.next(self.end)

    @step
    def end(self):
        """Say what came of it."""
        tag(f"profile:{self.settings.name}")  # again: a resumed run does not have the tags of the steps it took over
        tag(f"winner:{self.winner['trial']}")
        print(story.ending(self.leaderboard, self.report, self.release, self.latest))


if __name__ == "__main__":
    with ends.resumable(WhisperFlow.__name__), signals.handled():
        ends.main(WhisperFlow)
