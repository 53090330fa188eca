"""Pictures made larger: by tiny Swin2SR models with random weights, and by Lanczos' filter."""

import json

import numpy as np
import pytest
import torch
from PIL import Image
from transformers import Swin2SRConfig, Swin2SRForImageSuperResolution

from quintet.core.errors import InvalidRequest, LoadFailed
from quintet.engines.image.upscaler import MAX_PIXELS, Upscaler

pytestmark = pytest.mark.filterwarnings("ignore:__array_:DeprecationWarning")

UPSAMPLERS = {2: "pixelshuffle", 4: "nearest+conv"}


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    """Tensors this small gain nothing from several."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """A model of either factor, as transformers writes it."""
    root = tmp_path_factory.mktemp("upscalers")
    with torch.random.fork_rng():
        torch.manual_seed(0)
        for factor, upsampler in UPSAMPLERS.items():
            config = Swin2SRConfig(
                image_size=16,
                embed_dim=8,
                depths=[1],
                num_heads=[2],
                window_size=8,
                upscale=factor,
                upsampler=upsampler,
            )
            Swin2SRForImageSuperResolution(config).save_pretrained(root / str(factor))
    return {factor: root / str(factor) for factor in UPSAMPLERS}


def picture(width, height):
    """Soft colours with a hard edge."""
    x, y = np.meshgrid(np.linspace(0, 1, width), np.linspace(0, 1, height))
    shades = np.stack([x, y, (x > 0.5).astype(float)], axis=-1)
    return Image.fromarray((shades * 255).round().astype(np.uint8))


def silent(done, total):
    pass


def test_lanczos_needs_no_model():
    told = []
    made = Upscaler().upscale(picture(30, 20), None, lambda *tile: told.append(tile))
    assert made.size == (60, 40)
    assert told == [(1, 1)]
    assert made.tobytes() == picture(30, 20).resize((60, 40), Image.Resampling.LANCZOS).tobytes()
    assert Upscaler().upscale(picture(30, 20), 1.5, silent).size == (45, 30)
    assert Upscaler().upscale(picture(30, 20), 1, silent).tobytes() == picture(30, 20).tobytes()


@pytest.mark.parametrize("factor", UPSAMPLERS)
def test_a_model_enlarges_by_its_factor(folders, factor):
    upscaler = Upscaler(folders[factor])
    assert upscaler.scale == factor
    for width, height in ((37, 21), (16, 16), (3, 1)):
        made = upscaler.upscale(picture(width, height), None, silent)
        assert (made.mode, made.size) == ("RGB", (width * factor, height * factor))
        assert np.asarray(made).std() > 0


def test_any_scale(folders):
    upscaler = Upscaler(folders[2])
    source = picture(24, 16)
    once = upscaler.upscale(source, 2, silent)
    assert (
        upscaler.upscale(source, 1.5, silent).tobytes()
        == once.resize((36, 24), Image.Resampling.LANCZOS).tobytes()
    )
    twice = upscaler.upscale(once, 2, silent)
    assert upscaler.upscale(source, 4, silent).tobytes() == twice.tobytes()
    assert (
        upscaler.upscale(source, 3, silent).tobytes()
        == twice.resize((72, 48), Image.Resampling.LANCZOS).tobytes()
    )


def test_tiles_meet_without_seams(folders):
    """Shifted windows see the same neighbours in a tile as in the whole, save near the margins' ends."""
    source = picture(100, 70)
    whole = np.asarray(Upscaler(folders[2], tile=256).upscale(source, None, silent), dtype=int)
    tiled = np.asarray(Upscaler(folders[2], tile=64).upscale(source, None, silent), dtype=int)
    assert whole.shape == tiled.shape
    assert np.abs(whole - tiled).max() <= 2


def test_progress_and_cancel_by_tile(folders):
    upscaler = Upscaler(folders[2], tile=64)
    told = []
    upscaler.upscale(picture(100, 40), 4, lambda *tile: told.append(tile))
    tiles = 4 * 2 + 7 * 3
    assert told == [(done, tiles) for done in range(1, tiles + 1)], "of both passes"

    class GoneAway(Exception):
        pass

    def leave(done, total):
        told.append(done)
        if done == 3:
            raise GoneAway

    told.clear()
    with pytest.raises(GoneAway):
        upscaler.upscale(picture(100, 40), 2, leave)
    assert told == [1, 2, 3]


def test_the_model_sees_one_tile_at_a_time(folders):
    upscaler = Upscaler(folders[2], tile=64)
    seen = []
    run = upscaler._model.forward
    upscaler._model.forward = lambda pixel_values: (
        seen.append(tuple(pixel_values.shape[2:])) or run(pixel_values=pixel_values)
    )
    upscaler.upscale(picture(200, 90), None, silent)
    assert max(max(shape) for shape in seen) == 64
    assert len(seen) == 7 * 3


@pytest.mark.parametrize("scale", [0.5, 0, -1, 8.5, float("nan")])
def test_scales_out_of_range(folders, scale):
    for upscaler in (Upscaler(), Upscaler(folders[2])):
        with pytest.raises(InvalidRequest, match="between 1 and 8") as refused:
            upscaler.size((10, 10), scale)
        assert refused.value.param == "scale"


def test_results_that_are_too_large(folders):
    assert Upscaler().size((4096, 4096), 2) == (8192, 8192)
    assert MAX_PIXELS == 8192 * 8192
    for upscaler, size, scale in (
        (Upscaler(), (4096, 4096), 2.01),
        (Upscaler(), (4100, 4096), None),
        (Upscaler(folders[4]), (4096, 4096), 1.5),
        (Upscaler(folders[4]), (2049, 2049), None),
    ):
        with pytest.raises(InvalidRequest, match="at most 64") as refused:
            upscaler.size(size, scale)
        assert refused.value.param == "scale"


def test_the_same_picture_again(folders):
    upscaler = Upscaler(folders[2])
    one = upscaler.upscale(picture(20, 20), None, silent).tobytes()
    assert upscaler.upscale(picture(20, 20), None, silent).tobytes() == one
    assert Upscaler(folders[2]).upscale(picture(20, 20), None, silent).tobytes() == one


@pytest.mark.parametrize("change", [{"model_type": "bert"}, {"upscale": 1}, {"upscale": "2"}, None])
def test_what_is_no_upscaler_is_not_loaded(folders, tmp_path, change):
    config = json.loads((folders[2] / "config.json").read_text())
    if change is None:
        (tmp_path / "config.json").write_text("{")
    else:
        (tmp_path / "config.json").write_text(json.dumps(config | change))
    with pytest.raises(LoadFailed):
        Upscaler(tmp_path)


def test_broken_weights_are_not_loaded(folders, tmp_path):
    (tmp_path / "config.json").write_bytes((folders[2] / "config.json").read_bytes())
    with pytest.raises(LoadFailed, match="pull"):
        Upscaler(tmp_path)
    (tmp_path / "model.safetensors").write_bytes(b"nonsense")
    with pytest.raises(LoadFailed, match="pull"):
        Upscaler(tmp_path)
