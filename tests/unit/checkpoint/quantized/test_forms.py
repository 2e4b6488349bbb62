"""Rule: a quantized weight is read as its release pickled it, and written as the target pickles."""

from __future__ import annotations

import io

import pytest

from helpers import quantized
from matrix.catalogue import releases
from matrix.catalogue import weights as table
from matrix.catalogue.ranges import covers
from matrix.checkpoint import torch_writing, torchfile
from matrix.checkpoint.added import AddedStorages
from matrix.checkpoint.errors import CheckpointError, Malformed
from matrix.checkpoint.nodes import Call, Global, Node
from matrix.checkpoint.quantized import weights
from matrix.checkpoint.quantized.changes import WeightChange
from matrix.checkpoint.torchfile import TorchFile

SAVES = quantized.saves()
UNREADABLE = {"2.0"}  # of MXFP8: these releases cannot load what they save


def rewritten(file: TorchFile, into: str, savers: tuple[str, ...] = ()) -> TorchFile:
    out = io.BytesIO()
    change = WeightChange(into=into, savers=savers)
    torch_writing.write(file, {}, out, lambda _size: None, change)
    return torchfile.of_bytes(out.getvalue())


def contents(file: TorchFile, weight: weights.QuantizedWeight) -> dict[str, bytes]:
    return {name: file.storage(ref, 1 << 20) for name, ref in weight.tensors.items()}


@pytest.mark.parametrize(("recipe", "release"), SAVES)
def test_a_save_is_in_a_form_of_its_release(recipe: str, release: str) -> None:
    weight = quantized.weight(quantized.source(recipe, release))
    assert weight.weight == quantized.CLASSES[recipe]
    assert weight.fp_dtype == ("kFloat4E2M1" if recipe == "nvfp4" else "kFloat8E4M3")
    assert (weight.shape, weight.dtype) == ((64, 64), "bfloat16")
    assert all(covers(form.releases)(release) for form in weight.forms)
    both = ("rowwise",) if recipe == "delayed-scaling" else ("rowwise", "columnwise")
    assert weight.usages == both


@pytest.mark.parametrize(("recipe", "release"), SAVES)
def test_it_is_written_as_every_other_release_pickles_its_own(recipe: str, release: str) -> None:
    for target in quantized.releases(recipe):
        if recipe == "mxfp8" and target in UNREADABLE:
            continue
        new = rewritten(quantized.source(recipe, release), target)
        own = quantized.weight(quantized.source(recipe, target))
        assert quantized.text(quantized.weight(new).call) == quantized.text(own.call)


@pytest.mark.parametrize(("recipe", "release"), SAVES)
def test_data_and_scales_are_copied_byte_for_byte(recipe: str, release: str) -> None:
    source = quantized.source(recipe, release)
    before = contents(source, quantized.weight(source))
    for target in quantized.releases(recipe):
        if recipe == "mxfp8" and target in UNREADABLE:
            continue
        new = rewritten(quantized.source(recipe, release), target)
        assert contents(new, quantized.weight(new)) == before


def test_a_plain_weight_stays_as_it_is() -> None:
    source = quantized.source("delayed-scaling", quantized.PLAIN)
    assert not weights.search(source.root)[0]
    assert quantized.text(rewritten(source, "2.20.2").root) == quantized.text(
        quantized.source("delayed-scaling", quantized.PLAIN).root
    )


@pytest.mark.parametrize(
    ("recipe", "release", "target", "named"),
    [
        ("delayed-scaling", "2.4", "1.1", "1.1 has no Float8Tensor"),
        ("mxfp8", "2.4", "1.14", "1.14 has no MXFP8Tensor"),
        ("mxfp8", "2.4", "2.1", "2.1 cannot load a MXFP8Tensor"),
        ("block-scaling", "2.4", "2.2", "2.2 has no Float8BlockwiseQTensor"),
        ("nvfp4", "2.8", "2.7", "2.7 has no NVFP4Tensor"),
    ],
)
def test_a_release_that_cannot_hold_it_is_told(
    recipe: str, release: str, target: str, named: str
) -> None:
    with pytest.raises(CheckpointError, match=named):
        rewritten(quantized.source(recipe, release), target)


def test_every_class_of_weights_of_every_release_has_one_form() -> None:
    known = table.load()
    catalogue = releases.load()
    for release in map(catalogue.__getitem__, catalogue.names()):
        forms = [form for form in known.forms if covers(form.releases)(release.version)]
        assert len(forms) == len({form.weight for form in forms})
        for form in forms:
            rows = [e for e in known.enumerations if covers(e.releases)(release.version)]
            assert len([e for e in rows if e.value == table.DTYPE]) == 1
            has_quantizer = known.quantizer(form.weight, release.version) is not None
            assert ("quantizer" in form.arguments) == has_quantizer


# What a number means.


def numbered(number: int, release: str = "2.4") -> TorchFile:
    """A save of 2.0 to 2.15 whose weight's type has another number."""
    file = quantized.source("delayed-scaling", release)
    call = quantized.weight(file).call
    enum = Call("NEWOBJ", Global("transformer_engine_torch", "DType"), (), state=[number])
    call.arguments = (call.arguments[0], enum, *call.arguments[2:])
    return file


def test_six_is_e4m3_of_releases_before_24_and_seven_of_later_ones() -> None:
    assert quantized.weight(numbered(6)).forms[0].releases == "2.0-2.3"
    assert quantized.weight(numbered(7)).forms[0].releases == "2.4-2.15"
    assert quantized.weight(numbered(6)).fp_dtype == quantized.weight(numbered(7)).fp_dtype


def test_the_number_changes_with_the_release() -> None:
    for release, target, number in (("2.0", "2.4", 7), ("2.4", "2.0", 6), ("2.4", "1.2", 6)):
        call = quantized.weight(
            rewritten(quantized.source("delayed-scaling", release), target)
        ).call
        assert call.arguments[1].state == [number]


def test_a_saver_that_is_known_decides() -> None:
    assert quantized.weight(numbered(7), savers=("2.3",)).fp_dtype == "kFloat8E5M2"
    assert quantized.weight(numbered(7), savers=("2.13",)).fp_dtype == "kFloat8E4M3"


def test_another_number_in_the_file_decides() -> None:
    file, older = numbered(7), numbered(6)
    file.root.pairs.append(("other.weight", quantized.weight(older).call))
    calls, numbering = weights.search(file.root)
    assert [weights.read(call, numbering).fp_dtype for call in calls] == [
        "kFloat8E5M2",
        "kFloat8E4M3",
    ]


def test_a_number_of_no_release_is_refused() -> None:
    for number in (0, 5, 9, 99):
        with pytest.raises(Malformed, match="no member"):
            quantized.weight(numbered(number))


def test_members_that_python_pickles_by_name_are_read() -> None:
    file = quantized.source("delayed-scaling", "2.17")
    call = quantized.weight(file).call
    enum = Global("transformer_engine.pytorch.constants", "DType")
    getattr_ = Global("builtins", "getattr")
    named = Call("REDUCE", getattr_, (enum, "kFloat8E5M2"))
    call.arguments = (call.arguments[0], named, *call.arguments[2:])
    assert quantized.weight(file).fp_dtype == "kFloat8E5M2"


# What a target cannot say.


def changed(recipe: str, release: str, name: str, value: Node) -> TorchFile:
    """A save with another argument."""
    file = quantized.source(recipe, release)
    weight = quantized.weight(file)
    place = weight.forms[0].arguments.index(name)
    given = weight.call.arguments
    weight.call.arguments = (*given[:place], value, *given[place + 1 :])
    return file


def test_what_says_how_data_is_to_be_understood_is_not_left_out() -> None:
    for name, value in (
        ("with_gemm_swizzled_scales", True),
        ("row_scaled_nvfp4", True),
        ("nvfp4_use_4over6", True),
        ("nvfp4_e4m3_max", 256),
    ):
        with pytest.raises(CheckpointError, match=f"{name} = {value}"):
            rewritten(changed("nvfp4", "2.17", name, value), "2.8")
        kept = rewritten(changed("nvfp4", "2.17", name, value), "2.20.2")
        assert quantized.weight(kept).values[name] == value


def test_a_layout_that_later_releases_do_not_have_is_refused() -> None:
    kind = Global("transformer_engine_torch", "Float8BlockScaleTensorFormat")
    compact = Call("NEWOBJ", kind, (), state=[1])
    with pytest.raises(CheckpointError, match="COMPACT"):
        rewritten(changed("block-scaling", "2.5", "data_format", compact), "2.12")
    with pytest.raises(CheckpointError, match="data_format"):
        rewritten(changed("block-scaling", "2.5", "data_format", compact), "2.4")
    kept = rewritten(changed("block-scaling", "2.5", "data_format", compact), "2.11")
    assert quantized.weight(kept).data_format == "COMPACT"


def with_field(recipe: str, release: str, name: str, value: Node) -> TorchFile:
    """A save whose weight's quantizer has another attribute."""
    file = quantized.source(recipe, release)
    (fields,) = quantized.weight(file).values["quantizer"].state
    fields.pairs[:] = [(key, value if key == name else held) for key, held in fields.pairs]
    return file


def test_attributes_of_a_quantizer_that_the_target_lacks_must_be_unset() -> None:
    for name in ("row_scaled_nvfp4", "nvfp4_use_4over6"):
        with pytest.raises(CheckpointError, match=f"{name} = True"):
            rewritten(with_field("nvfp4", "2.17", name, True), "2.12")
    with pytest.raises(CheckpointError, match="'MSE'"):
        rewritten(with_field("nvfp4", "2.17", "nvfp4_4over6_err_mode", "MSE"), "2.12")


def test_usages_are_those_of_the_weight() -> None:
    file = rewritten(with_field("mxfp8", "2.6", "internal", True), "2.20.2")
    assert "'internal': True" in quantized.text(quantized.weight(file).values["quantizer"])
    source = changed("mxfp8", "2.4", "columnwise_data", None)
    call = weights.search(source.root)[0][0]
    call.arguments = (*call.arguments[:3], None, *call.arguments[4:])
    new = quantized.weight(rewritten(source, "2.20.2"))
    assert new.usages == ("rowwise",)
    assert "'columnwise_usage': False" in quantized.text(new.values["quantizer"])


def test_a_second_copy_is_left_out_and_an_only_one_is_not() -> None:
    file = quantized.source("delayed-scaling", "2.19")
    data = quantized.weight(file).values["data"]
    new = rewritten(changed("delayed-scaling", "2.19", "data_transpose", data), "2.18")
    assert quantized.weight(new).usages == ("rowwise",)
    only = changed("delayed-scaling", "2.19", "data_transpose", data)
    call = weights.search(only.root)[0][0]
    call.arguments = (None, *call.arguments[1:])
    assert quantized.weight(only).usages == ("columnwise",)
    with pytest.raises(CheckpointError, match="nothing but"):
        rewritten(only, "2.18")


# What no release writes.


@pytest.mark.parametrize(
    ("name", "value", "named"),
    [
        ("data", None, "has no data"),
        ("data", 5, "its data is a int"),
        ("scale_inv", None, "no scale_inv"),
        ("dtype", Global("torch", "int64"), "no floating type"),
        ("dtype", "bfloat16", "its dtype is a str"),
        ("shape", (64, "x"), "its shape is a tuple"),
        ("fp_dtype", 7, "no enumeration"),
    ],
)
def test_what_no_release_writes_is_refused(name: str, value: Node, named: str) -> None:
    with pytest.raises(Malformed, match=named):
        quantized.weight(changed("delayed-scaling", "2.4", name, value))


def test_a_call_with_other_arguments_is_refused() -> None:
    file = quantized.source("delayed-scaling", "2.4")
    call = quantized.weight(file).call
    call.arguments = call.arguments[:3]
    with pytest.raises(Malformed, match="with 3 arguments"):
        quantized.weight(file)
    with pytest.raises(CheckpointError, match="with 3 arguments"):
        WeightChange(into="2.4").apply(file, AddedStorages(file))
