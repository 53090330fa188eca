"""OpenVINO networks, right and wrong (reliability U-17)."""

from __future__ import annotations

import struct
from pathlib import Path

import pytest

from quintet.weights.openvino_ir import Network, read_network
from quintet.weights.refusal import GateRefused
from tests.weights.gate_files import constant, layer, network


def read(folder: Path, xml: bytes, weights: bytes = bytes(64), name: str = "openvino_model.xml") -> Network:
    (folder / "a.xml").write_bytes(xml)
    (folder / "a.bin").write_bytes(weights)
    with (folder / "a.xml").open("rb") as network_file, (folder / "a.bin").open("rb") as weights_file:
        return read_network(name, network_file, weights_file)


def hint(name: str, value: str) -> str:
    return f'<rt_info><runtime_options><{name} value="{value}"/></runtime_options></rt_info>'


ENTITY = '<!DOCTYPE net [<!ENTITY a "aaaa"><!ENTITY b "&a;&a;&a;&a;">]>'
OUTSIDE = '<!DOCTYPE net [<!ENTITY a SYSTEM "file:///etc/hostname">]>'
BODY = "<body><layers>{}</layers></body>"

WRONG = [
    (b"", "not XML"),
    (b"\xef\xbb\xbf<net/>", "not XML"),
    (b"<net", "well-formed"),
    (b"\xff\xfe<\0n\0e\0t\0/\0>\0", "not XML"),
    (network().replace(b"</net>", b""), "well-formed"),
    (b"<html/>", "not an OpenVINO network"),
    (network(version="9"), "not an OpenVINO network"),
    (network(before="<!DOCTYPE net>"), "document type"),
    (network(before=ENTITY, after="<meta v='&b;'/>"), "document type"),
    (network(before=OUTSIDE), "document type"),
    (network(before='<!DOCTYPE net SYSTEM "http://127.0.0.1/x.dtd">'), "document type"),
    (network(after="<?php x?>"), "processing instruction"),
    (network(before='<?xml-stylesheet href="a.xsl"?>'), "processing instruction"),
    (network(after='<xi:include href="file:///etc/hostname"/>'), "another kind of document"),
    (network(after="<a>" * 70 + "</a>" * 70), "nested deeper"),
    (network(layer(opset="extension")), "extension"),
    (network(layer(opset="custom_opset")), "extension"),
    (network(layer(opset="opset99")), "extension"),
    (network(layer(opset="")), "extension"),
    (network(layer("RegexSplit", "extension")), "extension"),
    (network(layer("../lib", "opset1")), "not the name of an operator"),
    (network(layer("If", "opset8", BODY.format(layer(opset="extension")))), "extension"),
    (network(layer("Const")), "no data"),
    (network(constant(offset=49)), "ends at byte 65"),
    (network(constant(size=65, shape="")), "ends at byte 65"),
    (network(constant(offset=2**63, size=2**63)), "ends at byte"),
    (network(constant(offset=-4)), "not made of numbers"),
    (network(constant(offset="0x4")), "not made of numbers"),
    (network(constant(size="")), "not made of numbers"),
    (network(constant(shape="2,?")), "not made of numbers"),
    (network(constant(shape="-1")), "not made of numbers"),
    (network(constant(shape="4294967296,4294967296")), "more elements"),
    (network(constant(shape="4294967296,4294967296,0")), "more elements"),
    (network(constant(shape=",".join("1" * 33))), "more elements"),
    (network(constant(shape="2,3")), "larger by its shape"),
    (network(constant("u4", "33", 0, 16)), "larger by its shape"),
    (network(constant("f7")), "type that OpenVINO"),
    (
        network(
            layer("Const", inside='<data element_type="u8" shape="1" offset="0" size="1"/>' * 2 + "<blobs/>")
        ),
        "9",
    ),
    (network(layer("If", "opset8", BODY.format(constant(offset=60)))), "ends at byte 76"),
    (
        network(layer("const", inside='<data element_type="u8" shape="1" offset="64" size="1"/>')),
        "ends at byte 65",
    ),
    (
        network(layer("Constant", inside='<data element_type="u8" shape="1" offset="64" size="1"/>')),
        "ends at byte",
    ),
    (
        network(
            layer(
                "Const",
                inside='<data element_type="u8" shape="1" offset="0" size="1"/>'
                '<data element_type="u8" shape="1" offset="64" size="1"/>',
            )
        ),
        "ends at byte 65",
    ),
    (network(after=hint("CONFIG_FILE", "a.xml")), "plain hint"),
    (network(after=hint("CACHE_DIR", "x")), "plain hint"),
    (network(after=hint("WEIGHTS_PATH", "x")), "plain hint"),
    (network(after=hint("KV_CACHE_PRECISION", "/etc/x")), "plain hint"),
]


@pytest.mark.parametrize(("xml", "rule"), WRONG)
def test_a_wrong_network_is_refused(tmp_path: Path, xml: bytes, rule: str):
    with pytest.raises(GateRefused, match=rule) as caught:
        read(tmp_path, xml)
    assert str(caught.value).startswith("openvino_model.xml: ")


def test_constants_are_measured_once_each(tmp_path: Path):
    found = read(
        tmp_path, network(constant(), constant(), constant("u4", "3,3", 16, 5), constant("i64", "", 24, 8))
    )
    assert found.bytes_by_dtype == {"f32": 16, "u4": 5, "i64": 8}
    assert found.layers == 4


def test_right_networks_pass(tmp_path: Path):
    inner = layer("If", "opset8", f"<then_body><layers>{constant()}</layers></then_body>")
    info = '<rt_info><runtime_options><ACTIVATIONS_SCALE_FACTOR value="8.0"/></runtime_options>'
    info += '<nncf><a value="/x"/></nncf></rt_info>'
    attribute = layer("Convert", inside='<rt_info><attribute name="decompression" version="0"/></rt_info>')
    prior = layer("PriorBox", inside='<data offset="0.5" min_size="1"/>')
    found = read(tmp_path, network(inner, attribute, prior, layer("Add", "opset17"), after=info))
    assert found.bytes_by_dtype == {"f32": 16}


def test_tokenizers_may_use_their_own_operators(tmp_path: Path):
    xml = network(layer("RegexSplit", "extension"), constant())
    for name in ("openvino_tokenizer.xml", "sub/openvino_detokenizer.xml"):
        assert read(tmp_path, xml, name=name).layers == 2
    with pytest.raises(GateRefused, match="extension"):
        read(tmp_path, network(layer("RunsAnything", "extension")), name="openvino_tokenizer.xml")


def packed(count: int, places: list[int], symbols: bytes) -> bytes:
    return struct.pack(f"<i{len(places)}i", count, *places) + symbols


@pytest.mark.parametrize(
    ("content", "is_right"),
    [
        (packed(2, [0, 2, 3], b"abc"), True),
        (packed(0, [0], b""), True),
        (packed(2, [0, 2, 4], b"abc"), False),
        (packed(2, [0, 3, 2], b"abc"), False),
        (packed(1, [-1, 2], b"abc"), False),
        (packed(-1, [0], b""), False),
        (packed(2**31 - 1, [0], b""), False),
        (b"\0", False),
    ],
)
def test_texts_stay_inside_their_constant(tmp_path: Path, content: bytes, is_right: bool):
    xml = network(constant("string", "2", 0, len(content)))
    if is_right:
        assert read(tmp_path, xml, content).bytes_by_dtype == {"string": len(content)}
    else:
        with pytest.raises(GateRefused, match="text"):
            read(tmp_path, xml, content)


def test_a_large_document_without_end_is_refused_early(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("quintet.weights.openvino_ir.MAX_XML_BYTES", 1000)
    with pytest.raises(GateRefused, match="larger than"):
        read(tmp_path, network(constant() * 20))
    monkeypatch.setattr("quintet.weights.openvino_ir.MAX_XML_BYTES", 10**6)
    monkeypatch.setattr("quintet.weights.openvino_ir.MAX_ELEMENTS", 10)
    with pytest.raises(GateRefused, match="more than 10 elements"):
        read(tmp_path, network(constant() * 20))
