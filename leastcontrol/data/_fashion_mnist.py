"""Fashion-MNIST: 60 000 + 10 000 images of clothing, in the form of MNIST (Xiao, Rasul and
Vollgraf)."""

from ._idx_source import IdxFile, IdxSource

FASHION_MNIST = IdxSource(
    name="fashion-mnist",
    classes=10,
    shape=(28, 28),
    source="https://github.com/zalandoresearch/fashion-mnist",
    licence="MIT (Zalando SE)",
    train_images=IdxFile(
        "train-images-idx3-ubyte",
        "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888",
    ),
    train_labels=IdxFile(
        "train-labels-idx1-ubyte",
        "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9",
    ),
    test_images=IdxFile(
        "t10k-images-idx3-ubyte",
        "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b",
    ),
    test_labels=IdxFile(
        "t10k-labels-idx1-ubyte",
        "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34",
    ),
    mirrors=(
        "https://github.com/zalandoresearch/fashion-mnist/raw/master/data/fashion/",
        # The authors' bucket supports plain HTTP only; the checksum makes that safe.
        "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",
    ),
    # Debian's package dataset-fashion-mnist.
    system_folders=("/usr/share/datasets/fashion-mnist",),
)
"""Fashion-MNIST, 60 000 + 10 000 pictures of clothes in ten classes, of 28 × 28 pixels."""
