"""Speech in, a served Whisper out: preprocess, fine-tune in branches, pick the best on validation, score, release.

python flows/whisper_flow.py run
python flows/whisper_flow.py --config profile flows/profiles/NAME.toml run
python flows/whisper_flow.py resume
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

from asr import signals

signals.ignore_terminal()
import secrets
import tempfile
from datetime import UTC, datetime

from asr import InputError, cards, cli, disk, errors, hardware, memory, settings, summary
from asr.plain_values import from_plain, to_plain
from asr.pods import on_kubernetes
from metaflow import Config, FlowSpec, card, catch, current, project, retry, step


def profile(text):
    """The validated settings of a profile as plain values; a bad profile ends the command in one line."""
    try:
        return settings.load(text).model_dump(mode="json")
    except InputError as error:
        raise SystemExit(str(error)) from None


def tag(name):
    """Tag the run. A tag that cannot be set is reported, and the run continues."""
    if "spin-step" in sys.argv:  # a spin is not a run
        return
    try:
        current.run.add_tag(name)
    except Exception as error:
        print(f"the run could not be tagged {name}: {error}", file=sys.stderr)


# Artifacts from before the trials that later steps need.
KEPT_ARTIFACTS = ["code_version", "corpus", "created", "rejected", "rejected_rows", "searched", "shards", "space"]


@on_kubernetes()
@project(name="whisper_flow")  # separates the branches of a team on Argo
class WhisperFlow(FlowSpec):
    """From recordings to a served Whisper model, honestly scored."""

    profile = Config("profile", default=str(Path(__file__).parent / "profiles" / "sample.toml"), parser=profile)

    @property
    def settings(self):
        return settings.Settings.model_validate(self.profile.to_dict())

    def about(self, task):
        """The run, for the cards. In a spun join only the inputs have its artifacts."""
        return cards.Run(self.settings.name, task.created)

    @step
    def start(self):
        """Check the profile against this machine and the Hub, and find the speech."""
        from asr import code_version, extras
        from asr.corpus import recordings, sources
        from asr.release import engine, hub
        from asr.store import Store
        from asr.training import search

        self.created = datetime.now(UTC).isoformat(timespec="seconds")  # a resumed run keeps it
        tag(f"profile:{self.settings.name}")
        if not hardware.in_pod():
            disk.check(self.settings.release.folder, "[release] folder")
        extras.check(self.settings)
        hub.check_access(self.settings.release, wait=False)
        search.plan_trials(self.settings)  # checks the base and the learning rates before any work
        recordings.check_recordings(self.settings.training)
        parts = sources.list_parts(self.settings.corpus)
        store = Store.of_task()
        self.parts = [store.put_object(part) for part in parts]  # a task reads only its own part
        self.code_version, self.space = code_version(), engine.capture_space()
        self.next(self.preprocess, foreach="parts")

    @card(type=cards.PAGE, customize=True)
    @step
    def preprocess(self):
        """Check each clip of a part, and write the accepted ones into shards."""
        from asr.corpus import manifest, shards
        from asr.store import Store

        store = Store.of_task()
        packed, examples = shards.build_part(store.get_object(self.input, "start"), self.settings, store)
        print(packed)
        current.card.append(
            cards.preprocess(self.about(self), manifest.clip_table(packed.shards), packed.rejected_table, examples)
        )
        self.packed, self.examples = packed.to_plain(), to_plain(examples)
        self.next(self.collect)

    @card(type=cards.PAGE, customize=True)
    @step
    def collect(self, inputs):
        """Join the records of the parts; the audio stays in the shards."""
        from asr.corpus import clips, manifest, shards

        packed = [shards.PackedPart.from_plain(branch.packed) for branch in inputs]
        joined = manifest.merge_parts(packed, self.settings.corpus)
        self.shards = [shard.to_plain() for shard in joined.shards]
        self.rejected, self.rejected_rows, self.corpus = joined.rejected, to_plain(joined.rejected), joined.summary
        self.merge_artifacts(inputs, include=["code_version", "created", "space"])
        manifest.check_splits(joined, self.settings.corpus)
        examples = [
            from_plain(clips.Clip, clip) for at in manifest.example_parts(packed) for clip in inputs[at].examples
        ]
        table = manifest.clip_table(joined.shards)
        current.card.append(
            cards.collect(self.about(inputs[0]), table, joined.rejected, joined.summary, joined.reused_shards, examples)
        )
        self.next(self.search)

    @step
    def search(self):
        """Plan the trials, and estimate their time and cost."""
        with memory.no_collections():
            from asr.corpus import shards
            from asr.corpus.manifest import Manifest
            from asr.training import estimate, gpu, search, token_limit

        stored = shards.shards_from_plain(self.shards)
        accepted = token_limit.reject_long_texts(Manifest(stored, self.rejected, self.corpus, 0), self.settings)
        self.shards, self.corpus = [shard.to_plain() for shard in accepted.shards], accepted.summary
        self.rejected = accepted.rejected[["clip", "reason"]]
        self.rejected_rows, trials = to_plain(self.rejected), search.plan_trials(self.settings)
        self.trials = to_plain(trials)
        self.at_once, self.threads = hardware.parallel_trials(len(trials)), hardware.threads_per_trial(len(trials))
        if hardware.in_pod():
            plan = estimate.describe_remote(self.settings, trials, self.corpus)
        else:
            plan = estimate.estimate_cost(
                self.settings, trials, accepted.shards, self.corpus, self.at_once, self.threads, hardware.cores()
            ).text
        # A resumed run keeps it and finds the checkpoints. The token: a new metadata service numbers runs from 1 again.
        self.searched = f"{current.run_id}-{secrets.token_hex(4)}"
        print(plan)
        if reason := gpu.unused_reason():
            print(reason)
        self.next(self.train, foreach="trials")

    @card(type=cards.LIVE, customize=True)
    @catch(var="crash", print_exception=False)
    @retry(times=2, minutes_between_retries=0)
    @errors.handle_trial_errors
    @step
    def train(self):
        """Fine-tune with one set of hyperparameters, from the trial's last checkpoint where there is one."""
        with memory.no_collections():
            hardware.set_threads(hardware.cores() if hardware.in_pod() else self.threads)
            from asr.corpus import shards
            from asr.store import Store
            from asr.training import distributed, halving, models, search, trial
            from asr.training.checkpoints import Checkpoints, checkpoint_path

        self.hardware = hardware.describe()
        store, settings = Store.of_task(), self.settings
        planned, stored = from_plain(search.Trial, self.input), shards.shards_from_plain(self.shards)
        live = cards.Live(current.card, self.about(self), lambda status: cards.train(planned, status, settings))
        checkpoints = Checkpoints(store, checkpoint_path(self.searched, planned, settings, stored), settings.training)
        siblings = halving.SuccessiveHalving(store, self.searched, planned.number, len(self.trials))
        with tempfile.TemporaryDirectory() as scratch:
            outcome, model, processor = trial.fine_tune(
                planned,
                settings,
                shards.SpeechDataset(stored, Path(scratch, "shards"), store.fetch),
                lambda line: print(f"trial {planned.number}  {line}", flush=True),
                checkpoints,
                siblings if settings.search.stop_losers else None,
                live,
                f"{settings.name}-{self.searched}/trial-{planned.number}",
                distributed.gpu_count(settings),
            )
            signals.ignore_sigterm()
            self.outcome = to_plain(outcome)
            self.weights_key = store.put_folder(models.save(Path(scratch, "model"), model, processor))
        self.next(self.select)

    @card(type=cards.PAGE, customize=True)
    @step
    def select(self, inputs):
        """Choose the trial with the lowest validation WER; the test set is not used."""
        from asr.corpus import shards
        from asr.store import Store
        from asr.training import search
        from asr.training.checkpoints import Checkpoints, checkpoint_path

        outcomes = []
        for branch in inputs:
            if reason := errors.trial_failure(branch):
                print(f"trial {branch.input['number']} failed: {reason}")
            outcomes.append(
                search.failed_outcome(branch.input) if reason else from_plain(search.Outcome, branch.outcome)
            )
        self.leaderboard = search.leaderboard(outcomes)
        self.leaderboard_rows = to_plain(self.leaderboard)
        self.winner = self.leaderboard_rows[0]
        self.curves = {outcome.trial.number: to_plain(outcome.curve) for outcome in outcomes}
        best = next(branch for branch in inputs if branch.input["number"] == self.winner["trial"])
        self.outcome, self.weights_key, self.hardware = best.outcome, best.weights_key, best.hardware
        self.merge_artifacts(inputs, include=KEPT_ARTIFACTS)
        current.card.append(cards.select(self.about(inputs[0]), self.leaderboard, outcomes, self.settings))
        store, searched, stored = Store.of_task(), inputs[0].searched, shards.shards_from_plain(inputs[0].shards)
        for outcome in outcomes:
            Checkpoints(
                store, checkpoint_path(searched, outcome.trial, self.settings, stored), self.settings.training
            ).clear()
        self.next(self.evaluate)

    @card(type=cards.PAGE, customize=True)
    @step
    def evaluate(self):
        """Build the release folder from the winner, and score it and the float model once on the test set."""
        with memory.no_collections():
            hardware.set_threads(hardware.cores())
            from asr.corpus import shards
            from asr.release import evaluation, record
            from asr.store import Store
            from asr.training import search

        store = Store.of_task()
        with tempfile.TemporaryDirectory() as scratch:
            speech = shards.SpeechDataset(shards.shards_from_plain(self.shards), Path(scratch, "shards"), store.fetch)
            winner = store.fetch_folder(self.weights_key, Path(scratch, "winner"), "train")
            facts = record.run_record(
                self.settings, current.run_id, self.created, self.code_version, self.corpus, self.leaderboard,
                from_plain(search.Outcome, self.outcome), self.hardware,
            )  # fmt: skip
            ready = Path(scratch, "release")
            result = evaluation.build_and_evaluate(ready, self.settings, winner, speech, self.space, facts)
            self.scores, self.report, self.breakdown = result.scores, to_plain(result.report), result.breakdown
            self.scores_rows, self.breakdown_rows = to_plain(result.scores), to_plain(result.breakdown)
            self.release_key = store.put_folder(ready)
        current.card.append(cards.evaluate(self.about(self), result, self.settings))
        self.next(self.push)

    @card(type=cards.PAGE, customize=True)
    @step
    def push(self):
        """Publish the release, locally and on the Hub; `latest` moves only when the gate passes."""
        from asr.corpus import shards
        from asr.release import gate, publishing
        from asr.store import Store

        store, checks = Store.of_task(), gate.run_checks(self.report, self.settings.release)
        with tempfile.TemporaryDirectory() as scratch:
            ready = store.fetch_folder(self.release_key, Path(scratch, "release"), "evaluate")
            speech = shards.SpeechDataset(shards.shards_from_plain(self.shards), Path(scratch, "shards"), store.fetch)
            published = publishing.publish_release(
                ready, current.run_id, self.settings, checks, self.scores, speech, self.space,
                here=not hardware.in_pod(), dry=store.spinning,
            )  # fmt: skip
        self.release, self.latest = to_plain(published.release), published.latest
        current.card.append(cards.push(self.about(self), published, self.report))
        self.next(self.end)

    @step
    def end(self):
        """Print the summary."""
        tag(f"profile:{self.settings.name}")  # again: a resumed run lacks the tags of the original
        tag(f"winner:{self.winner['trial']}")
        print(summary.format_summary(self.leaderboard, self.report, self.release, self.latest))


if __name__ == "__main__":
    with cli.resumable(WhisperFlow.__name__), signals.handled():
        cli.main(WhisperFlow)
