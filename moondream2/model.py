"""The whole network: image encoder, language model, region heads."""

from pathlib import Path

import torch
from torch import Tensor, nn

from moondream2.config import DEFAULT_REVISION, MoondreamConfig
from moondream2.region import Region
from moondream2.text import TextModel
from moondream2.vision import VisionModel
from moondream2.weights import load_state


class Moondream(nn.Module):
    """The three networks under the names of the public checkpoint.

    A model that is built directly has random weights, to be trained or to measure with.

    Args:
        config: Dimensions and rules.
    """

    def __init__(self, config: MoondreamConfig) -> None:
        super().__init__()
        self.config = config
        pixel_dtype: torch.dtype = getattr(torch, config.release.pixel_dtype)
        self.vision = VisionModel(config.vision, pixel_dtype)
        self.text = TextModel(config.text)
        self.region = Region(config.region)

    @classmethod
    def load(
        cls,
        folder: Path | str,
        *,
        device: torch.device | str = "cpu",
        dtype: torch.dtype = torch.float32,
        revision: str = DEFAULT_REVISION,
    ) -> "Moondream":
        """Load a model folder for inference.

        Args:
            folder: Holds `config.json` and the weights.
            device: Where the model runs.
            dtype: What it computes in.
            revision: Release to assume when `config.json` states no dimensions.

        Raises:
            ModelFileError: A file is missing, damaged, or of another model.
        """
        config = MoondreamConfig.from_folder(folder, revision=revision)
        with torch.device("meta"):
            model = cls(config)
        shapes = {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()}
        state = load_state(folder, shapes, device=device, dtype=dtype)
        model.load_state_dict(state, assign=True)
        return model.requires_grad_(False).eval()

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return self.text.wte.device

    @property
    def dtype(self) -> torch.dtype:
        """What the weights are held in."""
        return self.text.wte.dtype

    def prefix_embeddings(self, image_embeddings: Tensor) -> Tensor:
        """Put BOS before images: (F, grid², W) to (F, 1 + grid², W)."""
        bos = self.text.wte[self.config.tokens.bos].to(image_embeddings.dtype)
        return torch.cat((bos.expand(len(image_embeddings), 1, -1), image_embeddings), dim=1)
