"""Pictures are valid SVG that says what is in the graph."""

from __future__ import annotations

from xml.etree import ElementTree

import nasflow
from nasflow import ir
from nasflow.report.drawing import Box, draw
from nasflow.report.picture import picture, pictures

SVG = "{http://www.w3.org/2000/svg}"


def texts(svg: str) -> list[str]:
    return [element.text or "" for element in ElementTree.fromstring(svg).iter(f"{SVG}text")]


def test_every_node_of_a_cell_is_a_box() -> None:
    graph = nasflow.model("nasnet_a_6_768_cifar")
    drawn = pictures(graph)
    assert next(iter(drawn)) == "nasnet"
    reduction = texts(drawn["reduction1_reduction"])
    assert sum(label == "Add" for label in reduction) == 5
    assert "block0_right_sep_conv_7x7" in reduction
    assert len(drawn) < 8  # one of each structure, not one of each cell


def test_attributes_are_shown_where_they_say_something() -> None:
    x = ir.image(3, 8)
    graph = ir.Space(ir.Conv2d(16, 3, 2, bias=False)(x), name="one").bind({})
    assert texts(picture(graph)) == [
        "one",
        "image 3x8x8",
        "Conv2d 16, kernel=3, stride=2",
        "out 16x4x4",
    ]


def test_what_people_name_cannot_break_the_drawing() -> None:
    svg = draw({0: Box("<script>&'\"", "value")}, [], "</svg>")
    assert texts(svg) == ["</svg>", "<script>&'\""]
