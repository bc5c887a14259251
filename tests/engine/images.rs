//! Images that are on the node.
use crate::bench::{Bench, IMAGE};

pub async fn an_image_is_there_or_not(bench: Bench) {
    let engine = &bench.engine;
    let image = engine.image(IMAGE).await.expect("an answer").expect("an image");
    assert!(image.id.starts_with("sha256:"), "{}", image.id);
    assert!(image.size_bytes > 0);
    assert_eq!(image.user, "");
    for name in ["busybox", "docker.io/library/busybox:latest", "docker.io/busybox"] {
        assert_eq!(engine.image(name).await, Ok(Some(image.clone())), "{name}");
    }
    for name in [
        "missing",
        "busybox:missing",
        "missing.example:5000/busybox",
        "Bad Name",
        "a/../b",
        "x?all=1",
        "",
    ] {
        assert_eq!(engine.image(name).await, Ok(None), "{name}");
    }
    let all = engine.images().await.expect("a list");
    let named = |listed: &&cube::engine::NamedImage| listed.names.iter().any(|name| name.contains("busybox"));
    let listed = all.iter().find(named).expect("it is listed");
    assert_eq!(listed.size_bytes, image.size_bytes);
    let id = engine.create(&bench.sleeper("it")).await.expect("created");
    assert_eq!(bench.see(&id).await.image_id, image.id);
}
