"""What cloud.md tells a reader to type for other tools exists, and what profiles ask of a node fits into it."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from asr.pods import CPU, MEMORY_GB
from asr.settings import load

ROOT = Path(__file__).parents[2]
GUIDE = (ROOT / "flows/docs/cloud.md").read_text(encoding="utf-8")
# Machines of section 2 and 9: cores, gigabytes of memory, of disk, GPUs. What GKE leaves of them, by its documentation.
MACHINES = {"n1-standard-8": (8, 30, 200, 1), "n1-standard-16": (16, 60, 200, 2), "e2-standard-8": (8, 32, 200, 0)}
CPU_PODS = {30: 3, 40: 2}  # on a node of the pool `cpu`, by `disk_gb`
GIB = 2**30 / 1e9  # of which a node's memory is counted; [compute] counts thousands of millions
SYSTEM_CPU, SYSTEM_GB = 0.5, 1.0  # of GKE's own pods on every node
IN_CLOUD = [
    file
    for file in sorted((ROOT / "flows" / "profiles").glob("*.toml"))
    if load(file.read_text()).compute.where == "gke"
]


def left(machine: str) -> tuple[float, float, float]:
    """The cores, and gigabytes of memory and disk, that a node leaves to pods (GKE's page on node sizes)."""
    cores, memory, disk, _ = MACHINES[machine]
    reserved = 0.06 + 0.01 * (cores > 1) + 0.005 * min(2, max(0, cores - 2)) + 0.0025 * max(0, cores - 4)
    steps = [(4, 0.25), (4, 0.20), (8, 0.10), (112, 0.06)]
    reserved_memory, rest = 0.1, float(memory)
    for size, share in steps:
        reserved_memory, rest = reserved_memory + share * min(size, rest), max(0.0, rest - size)
    of_disk = 0.1 * disk + min(0.5 * disk, 6 + 0.35 * disk, 100)
    return cores - reserved - SYSTEM_CPU, memory - reserved_memory - SYSTEM_GB, disk - of_disk


@pytest.mark.parametrize("profile", IN_CLOUD, ids=lambda profile: profile.stem)
def test_what_a_profile_requests_fits_on_a_node(profile):
    compute = load(profile.read_text(encoding="utf-8")).compute
    machine = next(name for name, (*_, gpus) in MACHINES.items() if gpus == compute.gpus)
    cores, memory, disk = left(machine)
    assert compute.cpu <= cores
    assert compute.memory_gb <= memory * GIB
    assert compute.disk_gb <= disk
    cores, memory, disk = left("e2-standard-8")
    pods = CPU_PODS[compute.disk_gb]
    assert pods * CPU <= cores
    assert pods * MEMORY_GB <= memory * GIB
    assert pods * compute.disk_gb <= disk


def test_every_checked_machine_type_is_created_by_the_guide():
    assert {machine for machine in MACHINES if f"--machine-type={machine}" in GUIDE} == set(MACHINES)


EVERYWHERE = {"gcloud": "--project --format --filter --flatten --quiet", "kubectl": "-n -A", "terraform": ""}
IAM = "--member --role --condition"
# What the tools, which are not here, take of what the page gives them. gcloud's were parsed by gcloud 528; those of
# `kubectl create` are in kubernetes.io's reference, `wait --for` is in others' scripts; the rest is general knowledge.
KNOWN = {
    "gcloud artifacts repositories add-iam-policy-binding": f"--location {IAM}",
    "gcloud artifacts repositories create": "--location --repository-format",
    "gcloud artifacts repositories delete": "--location",
    "gcloud auth": "",
    "gcloud beta quotas preferences create": (
        "--service --quota-id --preferred-value --dimensions --email --justification"
    ),
    "gcloud billing budgets create": (
        "--billing-account --budget-amount --display-name --filter-projects --threshold-rule"
    ),
    "gcloud billing projects link": "--billing-account",
    "gcloud builds submit": "--region --machine-type --timeout --config",
    "gcloud compute": "",
    "gcloud config": "",
    "gcloud container clusters": "--zone",
    "gcloud container node-pools create": (
        "--cluster --zone --num-nodes --enable-autoscaling --min-nodes --max-nodes --disk-type --disk-size"
        " --service-account --workload-metadata --machine-type --accelerator --spot"
    ),
    "gcloud container node-pools delete": "--cluster --zone",
    "gcloud iam service-accounts keys delete": "--iam-account",
    "gcloud iam service-accounts keys list": "--iam-account --managed-by",
    "gcloud projects": IAM,
    "gcloud secrets add-iam-policy-binding": IAM,
    "gcloud secrets create": "--replication-policy --data-file",
    "gcloud secrets delete": "",
    "gcloud services enable": "",
    "gcloud sql instances list": "",
    "gcloud storage buckets add-iam-policy-binding": IAM,
    "gcloud storage cp": "--recursive",
    "gcloud storage ls": "",
    "kubectl create rolebinding": "--role --serviceaccount",
    "kubectl create secret generic": "--from-file",
    "kubectl delete": "",
    "kubectl get": "",
    "kubectl logs": "",
    "kubectl port-forward": "",
    "kubectl run": "--image --restart --overrides",
    "kubectl wait": "--for --timeout",
    "terraform apply": "-target -var-file",
    "terraform destroy": "-var-file",
    "terraform init": "",
}


def of_others() -> list[str]:
    """Each command of cloud.md for a tool that is not here, with what `$POOL` and `$HERE` hold, in one line."""
    page, commands = GUIDE, []
    for name in ("POOL", "HERE"):
        value = re.search(rf'^{name}="?(--[^"\n]*(?:\n[^"\n]*"|))', page, re.M)
        assert value, name
        page = page.replace(f"${name} ", " ".join(value[1].strip('"').split()) + " ")
    for block in re.findall(r"```sh\n(.*?)```", page, re.S):
        block = re.sub(r"'\{.*?\}'", "JSON", block, flags=re.S)
        inner = re.findall(r"\$\(((?:gcloud|kubectl) [^()]*(?:\([^()]*\)[^()]*)?)\)", block)
        rest = re.sub(r"\$\([^()]*(?:\([^()]*\)[^()]*)?\)", "VALUE", block.replace("\\\n", " "))
        for line in [*inner, *re.split(r"\n|&&|;|\||\bdo\b|\(", rest)]:
            words = re.sub(r"\s#.*", "", line).strip()
            if re.match(r"(gcloud|kubectl|terraform) ", words):
                commands.append(words)
    return commands


@pytest.mark.parametrize("command", of_others())
def test_commands_of_other_tools_use_existing_verbs_and_options(command):
    tool = command.split()[0]
    plain = re.sub(r"^kubectl -n \S+ ", "kubectl ", command)
    verbs = [verb for verb in KNOWN if plain == verb or plain.startswith(f"{verb} ")]
    assert verbs, plain
    options = set(re.findall(r"(?<=\s)(--?[a-zA-Z][a-z-]*)", command))
    assert options <= set(KNOWN[max(verbs, key=len)].split()) | set(EVERYWHERE[tool].split())


def test_no_secret_is_on_a_command_line():
    assert not re.search(r"--from-literal|TOKEN=hf_|--password", GUIDE)
