"""A line on every finding, for those who read a page without docs/audits.md beside them."""

from __future__ import annotations

import re

MEANINGS = {
    "forget_accuracy": "test samples of the forgotten classes that are still called by their name",
    "retain_accuracy": "test samples of the other classes that are called right",
    "forget_accuracy_train": "training samples to be forgotten that are called right",
    "retain_accuracy_train": "the other training samples that are called right",
    "flow_confidence": "how sure of itself, when forgotten classes are no choice",
    "flow_tv": "share of forgotten samples to be called otherwise to match the retrained models",
    "flow_js": "the same comparison as a divergence, in bits",
    "ausuc": "what the logits still know: forget against retain accuracy, whatever constant is added to them",
    "leak": "the same on a scale: 0 as retrained, 1 as the original",
    "gamma_recovered": "forget accuracy that one added constant brings back, for 5 points of retain accuracy",
    "probe_accuracy": "a fresh linear head on the frozen features: its accuracy on everything",
    "probe_forget_accuracy": "the same on the forgotten classes: are they still in the features?",
    "membership_auc": "forgotten training samples told from test samples of their class; 0.5: they are not",
    "membership_distance": "how far that is from 0.5",
    "cmia_auc": "forgotten class told from its nearest neighbour by what is said of the others",
    "cmia_distance": "how far that is from the retrained models",
    "prototype_forget_accuracy": "forget accuracy once the mean of a few samples is put into the head",
    "prototype_retain_accuracy": "retain accuracy after that",
    "relearn_batches": "mini-batches until the class is known again; 0: it was there all along",
    "ou_gaussian": "how differently from the original, around forgotten samples: noise (bits)",
    "ou_pgd": "the same where it hurts most: gradient steps (bits)",
    "absorber_precision": "of what is called like the classes that took the forgotten one in, how much is right",
    "absorber_false_matches": "of the other classes' samples called so, how many are wrong",
    "absorber_recall_change": "accuracy on those classes, minus the original's",
    "client_accuracy_min": "accuracy on a client's own retained data: the worst client",
    "client_accuracy_mean": "the mean of all clients",
    "client_accuracy_std": "the spread between clients",
    "cka_forget": "likeness of the features to retrained ones, on forgotten samples",
    "cka_retain": "the same on the others",
    "backdoor_success": "images with the planted mark that are called as the mark wants",
    "backdoor_chance": "the same images without the mark",
    "u_lira_auc": "forget samples that it was trained on told from others, by models made for the purpose; 0.5: not",
    "u_lira_tpr": "share of them that is found at 1 % of false alarms",
}


def meaning(finding: str) -> str:
    """What a finding says, in half a line; empty for those of other packages."""
    shots = re.fullmatch(r"fewshot_(\d+)_accuracy", finding)
    if shots:
        return f"forget accuracy after a few steps with {shots[1]} forgotten samples"
    return MEANINGS.get(finding, "")
