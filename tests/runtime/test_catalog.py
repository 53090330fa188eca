"""Reading catalog files: whose table wins, which name leads where, and what a mistake says."""

import re
from pathlib import Path

import pytest

from quintet.core.errors import ModelNotFound
from quintet.core.models import Model, Source
from quintet.engines.embed.settings import Settings as EmbedSettings
from quintet.engines.text.settings import Settings as TextSettings
from quintet.runtime.catalog import CatalogError, make_catalog, read_catalog
from quintet.runtime.catalog_file import OPTIONS


def write(folder, text, name="mine.toml"):
    (folder / name).write_text(text)
    return folder


def known(name, *aliases):
    """A model that is still to be pulled."""
    return Model(
        name=name,
        task="text",
        engine="text",
        aliases=aliases,
        sources=(Source(repo="owner/name", format="openvino"),),
    )


def installed(name, *aliases):
    return Model(name=name, task="text", engine="text", path="/weights", aliases=aliases)


def test_own_models(tmp_path):
    write(
        tmp_path,
        '[mine]\ntask = "text"\nengine = "text"\npath = "weights"\naliases = ["phi3"]\n'
        '[mine.options]\ndevice = "CPU"\nthreads = 4\n["vendor/big.model"]\ntask = "vision"\nengine = "text"\n',
    )
    catalog = read_catalog([tmp_path], aliases={"my-eyes": "vendor/big.model", "default": "mine"})
    assert catalog.find("phi3") is catalog.find("mine") is catalog.find("default")
    assert catalog.find("mine").path == str(tmp_path / "weights")
    assert catalog.find("mine").options == {"device": "CPU", "threads": 4}
    assert catalog.find("my-eyes").name == "vendor/big.model"
    assert catalog.for_tasks(["vision"])[0].name == "starter-vision", "installed ones come first"
    assert "phi3" in catalog
    assert "nobody" not in catalog


def test_a_later_folder_replaces(tmp_path):
    write(
        tmp_path, '[starter-chat]\ntask = "text"\nengine = "text"\npath = "/elsewhere"\ncontext_length = 99\n'
    )
    catalog = read_catalog([tmp_path])
    assert catalog.find("starter-chat").context_length == 99
    assert catalog.find("starter-chat").path == "/elsewhere"


def test_own_names_come_before_shipped_ones(tmp_path):
    """A user may call a model as he likes, even if hundreds of names are known."""
    write(tmp_path, '[llava]\ntask = "vision"\nengine = "text"\npath = "/llava"\n', "a.toml")
    write(
        tmp_path,
        '[mine]\naliases = ["qwen3-0.6b", "mixtral"]\ntask = "text"\nengine = "text"\npath = "/mine"\n',
        "b.toml",
    )
    catalog = read_catalog([tmp_path])
    assert catalog.find("llava").path == "/llava"
    assert catalog.find("llava-next").name == "llava-v1.6-mistral-7b"
    assert catalog.find("qwen3-0.6b") is catalog.find("mixtral") is catalog.find("mine")
    assert catalog.find("Qwen/Qwen3-0.6B").name == "qwen3-0.6b"


def test_models_to_be_pulled_give_way():
    catalog = make_catalog(
        [known("far", "short", "here"), known("further", "short"), installed("near", "here")],
        {"far": "near", "word": "further"},
    )
    assert catalog.find("here").name == "near"
    assert catalog.find("far").name == "near", "the settings' aliases win, too"
    assert catalog.find("short").name == "further", "the later table"
    assert catalog.find("word").name == "further"
    assert catalog.taken == {"near", "here", "far"}
    with pytest.raises(CatalogError, match="another model"):
        make_catalog([installed("a", "x"), installed("b", "x")])
    with pytest.raises(CatalogError, match="another model"):
        make_catalog([installed("a"), installed("b")], {"a": "b"})


GOOD = 'task = "text"\nengine = "text"\n'
SOURCE = 'repo = "a/b", format = "openvino"'


@pytest.mark.parametrize(
    ("text", "line", "said"),
    [
        (f"[m]\n{GOOD}contxt_length = 5\n", 4, 'unknown key "contxt_length"; did you mean "context_length"?'),
        (f'[m]\n{GOOD}context_length = "5"\n', 4, 'key "context_length": Expected `int`'),
        (f"[m]\n{GOOD}\n# zero\ncontext_length = 0\n", 6, 'key "context_length" must be at least 1'),
        (f"[m]\n{GOOD}context_length = 10\nmax_input_tokens = 10\n", 5, 'key "max_input_tokens"'),
        (f"[m]\n{GOOD}disk_bytes = -1\n", 4, 'key "disk_bytes" must not be negative'),
        (f"[n]\n{GOOD}\n[m]\nengine = 'text'\n", 5, 'model "m": key "task" is missing'),
        ('[m]\ntask = "txt"\nengine = "text"\n', 2, 'key "task" must be one of text, vision'),
        (f'[m]\n{GOOD}tool_format = "xml"\n', 4, 'key "tool_format" must be one of hermes, llama3, mistral'),
        ('[m]\ntask = "text"\nengine = "os.system"\n', 3, 'key "engine"'),
        (f"[m]\n{GOOD}[m.options]\nthreads = [1]\n", 4, 'key "options'),
        (f'["../m"]\n{GOOD}', 1, "a name is made of"),
        (f'[m]\n{GOOD}aliases = [" "]\n', 4, 'key "aliases"'),
        ("\ntask = 1\n", 2, 'key "task" stands outside'),
        # inside options, defaults and sources, however they are written
        (f"[m]\n{GOOD}options = {{ threds = 4 }}\n", 4, 'unknown key "threds" in options; did you mean "threads"?'),
        (f'[m]\n{GOOD}[m.options]\n\n"threds" = 4\n', 6, 'unknown key "threds" in options'),
        (f"[m]\n{GOOD}options.threads = 4\noptions.threds = 4\n", 5, 'unknown key "threds" in options'),
        (f"[m]\n{GOOD}defaults = {{ top_q = 1 }}\n", 4, 'unknown key "top_q" in defaults; did you mean "top_p"?'),
        (f"[m]\n{GOOD}[m.defaults]\ntop_k = 3\ntop_p = 0\n", 6, 'key "top_p" in defaults must be greater than 0'),
        (f"[m]\n{GOOD}[m.defaults]\ntop_k = 0.5\n", 5, 'key "top_k" in defaults must be a whole number'),
        (f"[m]\n{GOOD}[m.defaults]\nsteps = 4\n", 5, 'unknown key "steps" in defaults'),
        ('[m]\ntask = "speech"\nengine = "x"\ndefaults = { steps = 4 }\n', 4, "a model for speech has none"),
        (f"[m]\n{GOOD}sources = [\n  {{ {SOURCE} }},\n  {{ {SOURCE}, gatted = true }},\n]\n", 6,
         'unknown key "gatted" in sources; did you mean "gated"?'),
        (f'[m]\n{GOOD}[[m.sources]]\nrepo = "a/b"\nformat = "openvino"\n'
         '[[m.sources]]\nrepo = "b"\nformat = "openvino"\n', 8,
         'key "repo" in sources must be owner/name'),
        (f'[m]\n{GOOD}sources = [\n  {{ {SOURCE} }},\n  {{ repo = "a/b", format = "gguf" }},\n]\n', 6,
         'key "sources[1].format"'),
        (f'[m]\n{GOOD}sources = [{{ repo = "a/b" }}]\n', 4, 'key "format" is missing in sources'),
        (f'[m]\n{GOOD}sources = [{{ {SOURCE}, subfolder = "../x" }}]\n', 4, 'key "subfolder" in sources'),
        (f'[m]\n{GOOD}sources = [{{ {SOURCE}, precision = "q4" }}]\n', 4, 'key "precision" in sources must be one of'),
        (f'[n]\n{GOOD}threds = 1\n["n/o.p"]\n{GOOD}threds = 1\n', 4, 'model "n": unknown key "threds"'),
        (f'[n]\n{GOOD}["n/o.p".options]\nthreads = 1\nthreds = 1\n["n/o.p"]\n{GOOD}', 6, 'unknown key "threds"'),
        # text that only looks like a table
        (f'[m]\n{GOOD}chat_template = """\n[n]\ncontxt_length\n"""\ncontxt_length = 5\n', 8,
         'unknown key "contxt_length"'),
        # syntax
        ("[m]\n[n\n", 2, "not valid TOML"),
        (f"[m]\n{GOOD}options = {{ threads = 4\n", 4, "not valid TOML"),
        ("[m]\n[m]\n", 2, "not valid TOML"),
    ],
)  # fmt: skip
def test_a_mistake_names_file_line_and_key(tmp_path, text, line, said):
    with pytest.raises(CatalogError) as mistake:
        read_catalog([write(tmp_path, text)])
    assert said in str(mistake.value)
    assert str(mistake.value).startswith(f"{tmp_path / 'mine.toml'}:{line}: ")


def test_files_that_cannot_be_read(tmp_path):
    (tmp_path / "mine.toml").write_bytes(b"\xff")
    with pytest.raises(CatalogError, match=r"mine\.toml: not valid TOML"):
        read_catalog([tmp_path])
    (tmp_path / "mine.toml").unlink()
    (tmp_path / "mine.toml").mkdir()
    with pytest.raises(CatalogError, match=r"mine\.toml: can't be read"):
        read_catalog([tmp_path])


def test_options_are_those_of_the_engines():
    """The gateway doesn't import engines, so their options are written down a second time; this compares the two."""
    for engine, settings in (("text", TextSettings), ("embed", EmbedSettings)):
        assert set(OPTIONS[engine]) == set(settings.__dataclass_fields__) - {"properties"}


def test_ambiguous_names(tmp_path):
    write(tmp_path, f"[m]\n{GOOD}", "a.toml")
    write(tmp_path, f"[m]\n{GOOD}", "b.toml")
    with pytest.raises(CatalogError, match="twice"):
        read_catalog([tmp_path])
    (tmp_path / "b.toml").write_text(f'[n]\n{GOOD}aliases = ["m"]\n')
    with pytest.raises(CatalogError, match="another model"):
        read_catalog([tmp_path])
    (tmp_path / "b.toml").unlink()
    with pytest.raises(CatalogError, match="there is no model"):
        read_catalog([tmp_path], aliases={"x": "nobody"})


def test_an_unknown_name_is_answered_with_the_nearest():
    catalog = read_catalog()
    with pytest.raises(ModelNotFound) as refusal:
        catalog.find("qwen3-06b")
    assert refusal.value.message == (
        'There is no such model here. The nearest names are "qwen3-0.6b", "qwen3-4b" and "qwen3-8b".'
    )
    assert catalog.find(catalog.nearest("Phi-3-mini-4k-instruc")[0]).name == "phi-3-mini-4k-instruct"
    assert {catalog.find(name).task for name in catalog.nearest("whisper")} == {"speech"}
    names = [catalog.find(name).name for name in catalog.nearest("llama-3")]
    assert len(names) == len(set(names)) == 3, "one name per model"


@pytest.mark.parametrize("name", ["secret-name", "x" * 10_000, "", "gpt-4o"])
def test_a_name_like_no_other_is_told_where_the_names_are(name):
    with pytest.raises(ModelNotFound) as refusal:
        read_catalog().find(name)
    assert refusal.value.message == "There is no such model here; GET /v1/models lists those there are."


def test_one_near_name_only():
    catalog = make_catalog([installed("alone")])
    assert catalog.hint("alon") == 'The nearest name is "alone".'
    assert not re.search("alon", catalog.hint("zebra"))


def test_paths_of_shipped_models_start_at_the_package():
    chat = read_catalog().find("starter-chat")
    assert Path(chat.path).is_absolute()
    assert Path(chat.path).parts[-2:] == ("starter_models", "chat")


def test_a_model_named_in_options_becomes_its_folder():
    base = Model(name="sd", task="image", engine="image", path="/weights/sd", aliases=("runway/sd",))
    for named, folder in (
        ("sd", "/weights/sd"),
        ("runway/sd", "/weights/sd"),
        ("/own/sd", "/own/sd"),
        ("nobody", "nobody"),
    ):
        mover = Model(
            name="m", task="animation", engine="image", path="/m", options={"base": named, "threads": 2}
        )
        found = make_catalog([mover, base]).find("m")
        assert found.options == {"base": folder, "threads": 2}
    absent = known("later")
    mover = Model(name="m", task="animation", engine="image", path="/m", options={"base": "later"})
    assert make_catalog([mover, absent]).find("m").options == {"base": "later"}
