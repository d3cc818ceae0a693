import pytest

from capsulegan.report import paper


@pytest.mark.parametrize("ending", ["", "-best"])
def test_the_printed_figures_stand_beside_a_model_whatever_its_recipe(ending):
    assert paper.errors_of("mnist", f"gan{ending}")[100] == 0.29
    assert paper.errors_of("cifar10", f"capsulegan{ending}")[10000] == 0.7102
    assert paper.ratios_of("mnist", f"gan{ending}:capsulegan{ending}")["r_samples"] == 0.79


def test_nothing_was_printed_of_other_data_and_models():
    assert paper.errors_of("digits", "gan") == paper.errors_of("mnist", "gan-margin-best") == {}
    assert paper.ratios_of("mnist", "capsulegan:gan") == paper.ratios_of("digits", "gan:capsulegan") == {}
    assert paper.ratios_of("mnist", "gan-best:capsulegan") == {}
