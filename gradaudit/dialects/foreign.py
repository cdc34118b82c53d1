"""Files of other tools, by name or by what stands at their top: they hold no training, whatever
their words.

A service's environment, an API's parameters, a sweep's ranges and a trained model's record have
keys such as `batch_size`, `dropout` and `learning_rate` too.
"""

from __future__ import annotations

from gradaudit.dialects import normalised
from gradaudit.syntax.tree import Mapping, Scalar, resolve

TYPE_CHECKING = False
if TYPE_CHECKING:
    from gradaudit.syntax.tree import Node, Tree

_FOREIGN = frozenset(
    (
        # what projects are built, installed and checked with; gradaudit's own settings
        "gradaudit.toml", "pyproject.toml", "cargo.toml",
        "pixi.toml", "poetry.toml", "pdm.toml", "uv.toml", "ruff.toml", "rustfmt.toml",
        "clippy.toml", "netlify.toml", "wrangler.toml", "book.toml", "mise.toml",
        "package.json", "composer.json", "deno.json", "deno.jsonc", "lerna.json", "nx.json",
        "turbo.json", "biome.json", "angular.json", "vercel.json", "firebase.json",
        "renovate.json", "pyrightconfig.json", "jsconfig.json", "manifest.json",
        # what trained models are stored with: vocabularies, and the record of a run
        "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "vocab.json",
        "added_tokens.json", "trainer_state.json",
    )
)  # fmt: skip
"""Names of files that are never training configs, whatever words are in them."""

_FOREIGN_ENDS = ("-lock.json", "-lock.yaml", "-lock.yml", ".lock.json", ".schema.json")


def is_of_another_tool(path: str) -> bool:
    """Whether a file belongs to another tool by its name."""
    name = path.replace("\\", "/").rpartition("/")[2].lower()
    return name in _FOREIGN or name.endswith(_FOREIGN_ENDS) or name.startswith("tsconfig.")


_TOPS = tuple(
    frozenset(keys.split())
    for keys in (
        "apiversion kind",  # Kubernetes, Helm's charts, Argo, Kubeflow
        "on jobs",  # GitHub's workflows
        "openapi paths",
        "swagger paths",
        "awstemplateformatversion",
        "$schema properties",  # JSON Schema
        "config_version model_paths",  # dbt
        "method parameters metric",  # sweeps of Weights & Biases
        "method parameters program",
        "artifact_path flavors",  # MLflow's models
        "entry_points name",  # MLflow's projects
        "architectures model_type",  # trained models of Hugging Face
        "architectures transformers_version",
        "eos_token_id transformers_version",
        "peft_type base_model_name_or_path",
        "_class_name _diffusers_version",
        "log_history global_step",
        "added_tokens pre_tokenizer",
        "tokenizer_class",
    )
)
"""Keys that only another tool's files have together at the top, as `normalised` writes them."""

_IN_SERVICES = frozenset(("image", "build", "container_name"))


def is_of_another_format(tree: Tree) -> bool:
    """Whether a file that no dialect recognises is another tool's by its top, whatever its name."""
    return any(_is_foreign(root) for root in tree.roots)


def _is_foreign(root: Node) -> bool:
    top = resolve(root)
    if type(top) is not Mapping:
        return False
    below = {normalised(key.value): value for key, value in top.pairs if type(key) is Scalar}
    names = below.keys()
    if any(keys <= names for keys in _TOPS):
        return True
    services = resolve(below["services"]) if "services" in below else None  # Docker Compose
    return type(services) is Mapping and any(
        type(key) is Scalar and key.value in _IN_SERVICES
        for _, service in services.pairs
        for key, _ in getattr(resolve(service), "pairs", ())
    )
