"""The store: finished stages, kept under a key made of what they depend on and shared by runs and processes.

Layout, made for people to look into:

    <root>/<stage>/<key>/manifest.json          what it is, what it depends on, sizes and checksums
    <root>/<stage>/<key>/tensors.safetensors    the tensors of the artifact
    <root>/<stage>/<key>/data.json              everything else
    <root>/<stage>/<key>.checkpoint/<n>/        the same three files, of a stage that is not finished
    <root>/<stage>/<key>.tmp-<pid>/             being written, or left behind by a process that died
    <root>/damaged/<stage>-<key>-<n>/           set aside because it was not what a stage leaves behind
    <root>/locks/<stage>-<key>.lock             held while the stage is computed; empty, never removed
"""

from fedunlearn.store.folder import Artifact
from fedunlearn.store.keys import key_of
from fedunlearn.store.store import Checkpoint, Store, Stored

__all__ = ["Artifact", "Checkpoint", "Store", "Stored", "key_of"]
