"""Every transform of the albumentations package that keeps an image's size, by its name there.

What can be asked is written down here instead of being read from the package, so that a suite is
checked without importing it (it brings torch); a test compares the two.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from robobench.codecs import from_uint8, to_uint8
from robobench.draws import Draws
from robobench.errors import BadParameter, nearest
from robobench.registry import perturbations
from robobench.types import ImageBatch

if TYPE_CHECKING:
    from torch import Tensor

NAME = "albumentations.any"
Images = NDArray[np.uint8]  # (b, h, w, 3)

# What each transform's constructor takes for images; its arguments for masks, boxes and points are not here.
CATALOGUE: Mapping[str, str] = {
    "AdditiveNoise": "noise_type spatial_mode noise_params approximation",
    "AdvancedBlur": "blur_limit sigma_x_limit sigma_y_limit rotate_limit beta_limit noise_limit",
    "Affine": "scale translate_percent translate_px rotate shear interpolation fit_output keep_ratio "
    "rotate_method balanced_scale border_mode fill",
    "AutoContrast": "cutoff ignore method",
    "Blur": "blur_limit",
    "CLAHE": "clip_limit tile_grid_size",
    "ChannelDropout": "channel_drop_range fill",
    "ChannelShuffle": "",
    "ChromaticAberration": "primary_distortion_limit secondary_distortion_limit mode interpolation",
    "CoarseDropout": "num_holes_range hole_height_range hole_width_range fill",
    "ColorJitter": "brightness contrast saturation hue",
    "CropAndPad": "px percent keep_size sample_independently interpolation border_mode fill",
    "D4": "",
    "Defocus": "radius alias_blur",
    "Downscale": "scale_range interpolation_pair",
    "ElasticTransform": "alpha sigma interpolation approximate same_dxdy noise_distribution border_mode fill",
    "Emboss": "alpha strength",
    "Equalize": "mode by_channels",
    "Erasing": "scale ratio fill",
    "FancyPCA": "alpha",
    "GaussNoise": "std_range mean_range per_channel noise_scale_factor",
    "GaussianBlur": "blur_limit sigma_limit",
    "GlassBlur": "sigma max_delta iterations mode",
    "GridDistortion": "num_steps distort_limit interpolation normalized border_mode fill",
    "GridDropout": "ratio random_offset unit_size_range holes_number_xy shift_xy fill",
    "GridElasticDeform": "num_grid_xy magnitude interpolation",
    "HEStain": "method preset intensity_scale_range intensity_shift_range augment_background",
    "HorizontalFlip": "",
    "HueSaturationValue": "hue_shift_limit sat_shift_limit val_shift_limit",
    "ISONoise": "color_shift intensity",
    "Illumination": "mode intensity_range effect_type angle_range center_range sigma_range",
    "ImageCompression": "compression_type quality_range",
    "InvertImg": "",
    "MedianBlur": "blur_limit",
    "Morphological": "scale operation",
    "MotionBlur": "blur_limit allow_shifted angle_range direction_range",
    "MultiplicativeNoise": "multiplier per_channel elementwise",
    "OpticalDistortion": "distort_limit interpolation mode border_mode fill",
    "Perspective": "scale keep_size fit_output interpolation border_mode fill",
    "PiecewiseAffine": "scale nb_rows nb_cols interpolation absolute_scale border_mode fill",
    "PixelDropout": "dropout_prob per_channel drop_value",
    "PlanckianJitter": "mode temperature_limit sampling_method",
    "PlasmaBrightnessContrast": "brightness_range contrast_range plasma_size roughness",
    "PlasmaShadow": "shadow_intensity_range plasma_size roughness",
    "Posterize": "num_bits",
    "RGBShift": "r_shift_limit g_shift_limit b_shift_limit",
    "RandomBrightnessContrast": "brightness_limit contrast_limit brightness_by_max ensure_safe_range",
    "RandomFog": "alpha_coef fog_coef_range",
    "RandomGamma": "gamma_limit",
    "RandomGravel": "gravel_roi number_of_patches",
    "RandomGridShuffle": "grid",
    "RandomRain": "slant_range drop_length drop_width drop_color blur_value brightness_coefficient rain_type",
    "RandomRotate90": "",
    "RandomShadow": "shadow_roi num_shadows_limit shadow_dimension shadow_intensity_range",
    "RandomSnow": "brightness_coeff snow_point_range method",
    "RandomSunFlare": "flare_roi src_radius src_color angle_range num_flare_circles_range method",
    "RandomToneCurve": "scale per_channel",
    "RingingOvershoot": "blur_limit cutoff",
    "Rotate": "limit interpolation border_mode rotate_method crop_border fill",
    "SafeRotate": "limit interpolation border_mode rotate_method fill",
    "SaltAndPepper": "amount salt_vs_pepper",
    "Sharpen": "alpha lightness method kernel_size sigma",
    "ShotNoise": "scale_range",
    "Solarize": "threshold_range",
    "Spatter": "mean std gauss_sigma cutout_threshold intensity mode color",
    "SquareSymmetry": "",
    "Superpixels": "p_replace n_segments max_size interpolation",
    "ThinPlateSpline": "scale_range num_control_points interpolation border_mode fill",
    "ToGray": "num_output_channels method",
    "ToSepia": "",
    "Transpose": "",
    "UnsharpMask": "blur_limit sigma_limit alpha threshold",
    "VerticalFlip": "",
    "XYMasking": "num_masks_x num_masks_y mask_x_length mask_y_length fill",
    "ZoomBlur": "max_factor step_factor",
}
_REFUSED = {
    "it changes the size of an image; sizes belong to the suite's view": (
        "AtLeastOneBBoxRandomCrop BBoxSafeRandomCrop CenterCrop Crop CropNonEmptyMaskIfExists LongestMaxSize "
        "Pad PadIfNeeded RandomCrop RandomCropFromBorders RandomCropNearBBox RandomResizedCrop RandomScale "
        "RandomSizedBBoxSafeCrop RandomSizedCrop Resize SmallestMaxSize"
    ),
    "it changes what a pixel is; models are given numbers in [0, 1]": (
        "FromFloat Normalize ToFloat ToTensorV2"
    ),
    "it needs other images, masks, boxes or files": (
        "ConstrainedCoarseDropout FDA HistogramMatching MaskDropout Mosaic OverlayElements "
        "PixelDistributionAdaptation TextImage"
    ),
    "it is for volumes": (
        "CenterCrop3D CoarseDropout3D CubicSymmetry Pad3D PadIfNeeded3D RandomCrop3D ToTensor3D"
    ),
    "it is for spectrograms": "FrequencyMasking TimeMasking TimeReverse",
    "it runs code, which a suite cannot hold": "Lambda",
    "it does nothing to an RGB image": "NoOp ToRGB",
    "it is the old form of Affine": "ShiftScaleRotate",
    "name several steps in the suite, `compose: [...]`": (
        "Compose OneOf OneOrOther RandomOrder ReplayCompose SelectiveChannelTransform Sequential SomeOf"
    ),
}
REFUSED: Mapping[str, str] = {name: why for why, names in _REFUSED.items() for name in names.split()}
_OURS = {
    "p": "every image is transformed",
    "strict": "what is given is always checked",
}


@perturbations.register("any", version=1)
@dataclass(frozen=True, kw_only=True)
class AnyTransform:
    """Apply a transform of the albumentations package, by its name there, to every image.

    Covers blur, noise, colour, weather, dropout and distortion. `params` are those of the transform's
    constructor, with ranges as two numbers; names are checked when the suite is read, values by the package
    itself when the first images come, where what it would put right with a warning is an error too. Pixels
    are rounded to 8 bits, the form that all its transforms take, and come back in 8 bits. Every image is
    transformed (`p` is 1), with the transform's own generators seeded from the image, so that levels of a
    ladder see the same random numbers as far as the transform asks for them in the same order. Its
    additive noise also seeds OpenCV's generator, from the same seed. Runs on the CPU.

    Raises BadParameter for a transform or a parameter that the package does not have, for transforms
    that change an image's size or type or need more than one image, and for values it does not take.

    Source: Buslaev et al., Albumentations: Fast and Flexible Image Augmentations, Information 11(2), 2020;
    version 2.0.8, the last under the MIT licence. The paper of each transform is named in its docstring
    there.
    """

    transform: str  # its name in albumentations, such as RandomRain
    params: dict[str, Any] = field(default_factory=dict)  # its parameters by their names there

    wants: ClassVar[tuple[str, ...]] = ()
    nested: ClassVar[str | None] = None
    examples: ClassVar[tuple[Mapping[str, Any], ...]] = (
        {"transform": "MotionBlur", "params": {"blur_limit": [5, 5]}},
        {"transform": "GaussNoise", "params": {"std_range": [0.2, 0.2]}},
        {"transform": "Rotate", "params": {"limit": [20, 40], "border_mode": 1}},
        {"transform": "ToGray"},
    )

    def __post_init__(self) -> None:
        known = _arguments(self.transform)
        for name in self.params:
            if name in _OURS:
                raise _bad(f"{self.transform}: {name!r} cannot be set: {_OURS[name]}", "params", name)
            if name not in known:
                near = nearest(name, known) if known else "it takes none"
                raise _bad(f"{self.transform}: unknown parameter {name!r}; {near}", "params", name)

    def __call__(self, batch: ImageBatch, draws: Draws) -> ImageBatch:
        pixels = transformed(batch.pixels, [make(self.transform, self.params)], draws.seeds("transform"))
        return batch.with_pixels(pixels)


def make(transform: str, params: Mapping[str, Any]) -> Any:
    """A transform of the package that is always applied. Raises BadParameter for values it does not take."""
    import warnings

    os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")  # otherwise it asks the network for news
    import albumentations

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", UserWarning)
            return getattr(albumentations, transform)(**params, p=1.0)
    except (ValueError, TypeError, UserWarning) as error:
        version = albumentations.__version__
        raise _bad(
            f"{transform}: refused by albumentations {version}: {_one_line(error)}", "params"
        ) from error


def transformed(pixels: Tensor, transforms: Sequence[Any], seeds: Sequence[int]) -> Tensor:
    """Pixels (b, 3, h, w) through transforms in a row, each image with a seed. Raises BadParameter."""
    images = to_uint8(pixels, "round")
    out = np.empty_like(images)
    for image, into, seed in zip(images, out, seeds, strict=True):
        for i, transform in enumerate(transforms):
            image = _applied(transform, image, seed + i)
        into[:] = image
    return from_uint8(out, pixels)


def _applied(transform: Any, image: Images, seed: int) -> Images:
    """One image under a transform that starts from a seed."""
    import cv2

    transform.set_random_seed(seed)
    name, size = type(transform).__name__, "x".join(map(str, image.shape[:2]))
    try:
        found = transform(image=image)["image"]
    except (ValueError, TypeError, IndexError, KeyError, ZeroDivisionError, cv2.error) as error:
        raise _bad(f"{name}: failed on an image of {size}: {_one_line(error)}", "params") from error
    if found.shape != image.shape or found.dtype != np.uint8:
        got = f"{found.dtype} of {'x'.join(map(str, found.shape))}"
        raise _bad(f"{name}: expected an 8-bit image of {size}x3 to stay one, got {got}", "params")
    return np.asarray(found)


def _bad(message: str, *path: str) -> BadParameter:
    return BadParameter(f"{NAME}: {message}", path)


def _arguments(transform: str) -> list[str]:
    """What a transform takes. Raises BadParameter for one that is unknown or not offered."""
    if transform in REFUSED:
        raise _bad(f"transform: {transform} is not offered: {REFUSED[transform]}", "transform")
    if transform not in CATALOGUE:
        same = {n.lower(): n for n in CATALOGUE}.get(transform.lower())
        near = f"did you mean {same!r}?" if same else nearest(transform, CATALOGUE)
        raise _bad(f"transform: albumentations has no {transform!r}; {near}", "transform")
    return CATALOGUE[transform].split()


def _one_line(error: BaseException) -> str:
    """A pydantic complaint without its headline and its link."""
    lines = [line.strip() for line in str(error).splitlines()]
    kept = [
        n for n in lines if n and not n.startswith("For further information") and " validation error" not in n
    ]
    return "; ".join(kept) or type(error).__name__
