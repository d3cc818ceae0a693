"""The Triton kernels compiled to machine code for an NVIDIA H100 or H200, which needs no GPU.

The interpreter takes more than the compiler does, and says nothing of registers and shared memory. So this is
what can be known of the kernels on real devices where there is none.
"""

import os
import re
import subprocess
from pathlib import Path

import pytest

triton = pytest.importorskip("triton", reason="needs Triton, which has wheels for Linux")
nvidia = pytest.importorskip("triton.backends.nvidia")

from triton.backends.compiler import GPUTarget  # noqa: E402
from triton.compiler import ASTSource  # noqa: E402

from capsulegan.capsules import fused, fused_squash  # noqa: E402

OBJDUMP = Path(nvidia.__file__).parent / "bin" / "cuobjdump"
KERNELS = {
    "routing_pass": {"ROUTED": True},
    "sum_of_parts": {"ADD": True, "BLOCK_P": fused.PARTS, "BLOCK_C": fused.CAPSULES},
    "capsule_gradient": {},
    "weight_gradient": {},
    "squash_kernel": {"BLOCK_C": fused_squash.SQUASHED // 8},
    "squash_gradient_kernel": {"BLOCK_C": fused_squash.SQUASHED // 8},
}
NUMBERS = (
    *("inputs", "outputs", "batch", "parts", "capsules"),
    *("each", "places", "of_image", "of_channel", "of_place"),
)
SHARED_MEMORY = 227 * 1024  # bytes for a program at compute capability 9.0 (CUDA C++ guide)
FLOAT32 = {"v_sum", "s", "couplings", "partial", "gradient"}

pytestmark = pytest.mark.skipif(
    os.environ.get("TRITON_INTERPRET") == "1" or not OBJDUMP.exists(), reason="needs Triton's compiler"
)


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("TRITON_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setenv("TRITON_DEFAULT_FP_FUSION", "1")  # unset, Triton 3.9 warns of a change to come


def compiled(name, dim, out_dim, dtype, aligned=NUMBERS):
    """Return the kernel in machine code, for numbers of which those `aligned` are multiples of 16."""
    kernel = getattr(fused_squash if name.startswith("squash") else fused, name)
    sizes = {**KERNELS[name], **fused.tile(dim, out_dim)}
    sizes = {key: value for key, value in sizes.items() if key in kernel.arg_names}
    signature = {}
    for argument in kernel.arg_names:
        if argument in sizes:
            signature[argument] = "constexpr"
        elif argument in NUMBERS:
            signature[argument] = "i32"
        else:
            signature[argument] = "*fp32" if argument in FLOAT32 else f"*{dtype}"
    multiples = [
        index for index, (key, kind) in enumerate(signature.items()) if key in aligned or "*" in kind
    ]
    source = ASTSource(
        kernel,
        signature,
        constexprs={(kernel.arg_names.index(key),): value for key, value in sizes.items()},
        attrs={(index,): [["tt.divisibility", 16]] for index in multiples},
    )
    by_tile = "BLOCK_I" in kernel.arg_names
    warps = fused.WARPS if by_tile else 4  # as it is by default
    return triton.compile(source, target=GPUTarget("cuda", 90, 32), options={"num_warps": warps})


def bytes_of_stack(machine_code, path):
    """Return how many bytes of each thread's variables did not find room in registers."""
    path.write_bytes(machine_code)
    report = subprocess.run([OBJDUMP, "-res-usage", path], capture_output=True, text=True, check=True).stdout
    return int(re.search(r"STACK:(\d+)", report)[1])


@pytest.mark.parametrize("dtype", ["fp32", "bf16"])
@pytest.mark.parametrize("name", KERNELS)
def test_kernels_for_the_capsules_of_the_paper_keep_everything_in_registers(name, dtype, tmp_path):
    kernel = compiled(name, 8, 16, dtype)
    assert bytes_of_stack(kernel.asm["cubin"], tmp_path / "kernel.cubin") == 0
    assert kernel.metadata.shared <= SHARED_MEMORY // 3  # room for three programs


@pytest.mark.parametrize("dtype", ["fp32", "bf16"])
def test_a_routing_pass_over_any_batch_spills_next_to_nothing(dtype, tmp_path):
    kernel = compiled("routing_pass", 8, 16, dtype, aligned=())
    assert bytes_of_stack(kernel.asm["cubin"], tmp_path / "kernel.cubin") <= 64


@pytest.mark.parametrize(("dim", "out_dim"), [(1, 1), (3, 5), (16, fused.WIDEST), (fused.WIDEST,) * 2])
@pytest.mark.parametrize("name", KERNELS)
def test_kernels_compile_for_other_sizes(name, dim, out_dim):
    assert compiled(name, dim, out_dim, "fp32", aligned=()).metadata.shared <= SHARED_MEMORY
