//! Registries that are slow, broken, in need of credentials, or hostile.

use std::{
    collections::HashMap,
    fs,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use hypr_build::image::{
    BaseImage, Credentials, ImageError, Reference, RegistryClient, RegistrySource, base_image, pull,
};
use serde_json::json;

use crate::{
    fake::{Answer, Fake, Request},
    fixture::{Image, MANIFEST, Packed, World, chain, files, options, sha256, tar},
};

/// What an honest registry says about one image, which is at `app:1`.
fn honest(image: &Image) -> impl Fn(&Request) -> Answer + Send + Sync + Clone + 'static + use<> {
    let blobs = image.blobs();
    let manifest = blobs.last().unwrap().clone();
    let blobs: HashMap<_, _> = blobs.into_iter().map(|blob| (sha256(&blob), blob)).collect();
    move |request| match request.path.rsplit_once('/') {
        Some(("/v2/app/manifests", "1")) => Answer::ok(manifest.clone()).with("content-type", MANIFEST),
        Some(("/v2/app/manifests" | "/v2/app/blobs", digest)) => {
            blobs.get(digest).map_or(Answer::status(404), |blob| Answer::ok(blob.clone()))
        }
        _ => Answer::status(404),
    }
}

async fn pull_as(world: &World, fake: &Fake, credentials: Credentials) -> Result<BaseImage, ImageError> {
    let reference: Reference = format!("{}/app:1", fake.address).parse().unwrap();
    let source = RegistrySource::new(RegistryClient::new(credentials), reference);
    let limit = Duration::from_secs(60);
    tokio::time::timeout(limit, pull(&source, &world.store, &options())).await.expect("an end")
}

async fn pull_from(world: &World, fake: &Fake) -> Result<BaseImage, ImageError> {
    pull_as(world, fake, Credentials::none()).await
}

/// Content that does not compress, so that transfers are long enough to break.
fn noise(bytes: usize) -> String {
    let mut state = 1_u32;
    let next = |_| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        char::from(b' ' + (state >> 24) as u8 % 90)
    };
    (0..bytes).map(next).collect()
}

fn large() -> Image {
    Image::new(&[(tar(&[("file", &noise(600_000))]), Packed::Gzip)])
}

#[tokio::test]
async fn busy_registry_is_asked_again_when_it_says() {
    let world = World::new();
    let (calls, answer) = (Arc::new(AtomicUsize::new(0)), honest(&Image::small("x")));
    let counter = Arc::clone(&calls);
    let fake = Fake::serve(move |request| match counter.fetch_add(1, Ordering::SeqCst) {
        0 => Answer::status(429).with("retry-after", "1"),
        2 => Answer::status(503),
        _ => answer(request),
    })
    .await;
    let started = Instant::now();
    let image = pull_from(&world, &fake).await.unwrap();
    assert_eq!(files(&world.store, &image.snapshot)["file"], "x");
    assert!(started.elapsed() >= Duration::from_secs(1), "it waits as long as it is told to");
}

#[tokio::test]
async fn registry_that_stays_broken_is_named_with_its_answer() {
    let world = World::new();
    let body = json!({ "errors": [{ "code": "UNKNOWN", "message": "disk on\u{1b}[31m fire\n" }] }).to_string();
    let fake = Fake::serve(move |_| Answer { body: body.clone().into_bytes(), ..Answer::status(500) }).await;
    let error = pull_from(&world, &fake).await.unwrap_err().to_string();
    let address = &fake.address;
    assert_eq!(
        error,
        format!("registry {address} answered 500 when asked for manifest 1 of {address}/app:1: disk on [31m fire")
    );
    assert_eq!(fake.count("manifests"), 5);
}

#[tokio::test]
async fn registry_that_is_down_is_told_at_once() {
    let world = World::new();
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let client = RegistryClient::new(Credentials::none());
    let reference = format!("{address}/app:1").parse().unwrap();
    let started = Instant::now();
    let error = base_image(&world.store, &reference, Some(&client), &options()).await.unwrap_err();
    assert!(started.elapsed() < Duration::from_secs(5));
    let text = chain(&error);
    assert!(text.contains(&format!("cannot reach registry {address}")) && text.contains("refused"), "{text}");
}

#[tokio::test]
async fn image_that_the_registry_lacks_says_what_was_tried() {
    let world = World::new();
    let fake = Fake::serve(|_| Answer::status(404)).await;
    let client = RegistryClient::new(Credentials::none());
    let reference = format!("{}/app:1", fake.address).parse().unwrap();
    let text = base_image(&world.store, &reference, Some(&client), &options()).await.unwrap_err().to_string();
    assert!(text.contains("local store") && text.contains(&format!("registry {}", fake.address)), "{text}");
}

#[tokio::test]
async fn broken_transfer_goes_on_where_it_broke() {
    for with_ranges in [true, false] {
        let world = World::new();
        let image = large();
        let (layer, answer) = (sha256(&image.blobs()[1]), honest(&image));
        let wanted = layer.clone();
        let breaks = AtomicUsize::new(0);
        let fake = Fake::serve(move |request| {
            let mut whole = answer(request);
            if !request.path.ends_with(&wanted) {
                return whole;
            }
            let start: Option<usize> =
                request.header("range").and_then(|range| range.strip_prefix("bytes=")?.strip_suffix('-')?.parse().ok());
            if let (true, Some(start)) = (with_ranges, start) {
                let total = whole.body.len();
                whole.body.drain(..start);
                whole.status = 206;
                whole = whole.with("content-range", format!("bytes {start}-{}/{total}", total - 1));
            }
            if breaks.fetch_add(1, Ordering::SeqCst) < 3 {
                whole.length = Some(whole.body.len() as u64);
                whole.cut = Some(whole.body.len() / 2);
            }
            whole
        })
        .await;
        let pulled = pull_from(&world, &fake).await.unwrap();
        assert_eq!(files(&world.store, &pulled.snapshot)["file"], noise(600_000));
        assert_eq!(fake.count(&layer), 4, "ranges: {with_ranges}");
    }
}

#[tokio::test]
async fn transfer_that_breaks_in_one_place_is_given_up() {
    let world = World::new();
    let image = large();
    let (layer, answer) = (sha256(&image.blobs()[1]), honest(&image));
    let wanted = layer.clone();
    let fake = Fake::serve(move |request| {
        let mut whole = answer(request);
        if request.path.ends_with(&wanted) {
            whole.cut = Some(100_000);
        }
        whole
    })
    .await;
    let error = pull_from(&world, &fake).await.unwrap_err();
    assert!(matches!(error, ImageError::CutOff { received: 100_000, .. }), "{}", chain(&error));
    assert!(error.to_string().contains(&layer), "{error}");
    world.assert_no_trace();
}

#[tokio::test]
async fn content_that_lies_about_itself_is_refused() {
    type Lie = fn(&mut Answer);
    let flip: Lie = |answer| answer.body[100] ^= 1;
    let short: Lie = |answer| answer.body.truncate(1000);
    let endless: Lie = |answer| answer.endless = true;
    for (name, lie) in [("flip", flip), ("short", short), ("endless", endless)] {
        let world = World::new();
        let image = large();
        let (layer, answer) = (sha256(&image.blobs()[1]), honest(&image));
        let fake = Fake::serve(move |request| {
            let mut answer = answer(request);
            if request.path.ends_with(&layer) {
                lie(&mut answer);
            }
            answer
        })
        .await;
        let error = pull_from(&world, &fake).await.unwrap_err();
        match name {
            "flip" => assert!(matches!(error, ImageError::Digest { .. }), "{}", chain(&error)),
            _ => assert!(matches!(error, ImageError::Size { .. }), "{}", chain(&error)),
        }
        world.assert_no_trace();
    }
}

#[tokio::test]
async fn endless_documents_are_refused() {
    let world = World::new();
    let fake = Fake::serve(|_| Answer { endless: true, ..Answer::ok(vec![b' '; 65536]) }).await;
    let error = pull_from(&world, &fake).await.unwrap_err();
    assert!(matches!(error, ImageError::TooLarge { limit: 4_194_304, .. }), "{error}");
    let fake =
        Fake::serve(|_| Answer { endless: true, ..Answer { body: vec![b'x'; 65536], ..Answer::status(404) } }).await;
    assert!(matches!(pull_from(&world, &fake).await.unwrap_err(), ImageError::NotFound { .. }));
}

#[tokio::test]
async fn manifest_by_digest_must_have_it() {
    let world = World::new();
    let manifest = Image::small("x").blobs().pop().unwrap();
    let fake = Fake::serve(move |_| Answer::ok(manifest.clone()).with("content-type", MANIFEST)).await;
    let reference = format!("{}/app@{}", fake.address, sha256(b"another")).parse().unwrap();
    let source = RegistrySource::new(RegistryClient::new(Credentials::none()), reference);
    let error = pull(&source, &world.store, &options()).await.unwrap_err();
    assert!(matches!(error, ImageError::Digest { .. }), "{error}");
}

/// A registry that gives tokens to whoever has the password, and the image to whoever has a token.
async fn guarded(token_answer: fn(&Request) -> Answer) -> Fake {
    let answer = honest(&Image::small("secret"));
    Fake::serve(move |request| {
        if request.path.starts_with("/token") {
            return token_answer(request);
        }
        if request.header("authorization") == Some("Bearer good") {
            return answer(request);
        }
        let host = request.header("host").unwrap_or_default();
        let challenge = format!("Bearer realm=\"http://{host}/token?a=b\",service=\"the registry\"");
        Answer::status(401).with("www-authenticate", challenge)
    })
    .await
}

fn docker_config(world: &World, fake: &Fake, entry: serde_json::Value) -> Credentials {
    let path = world.path("config.json");
    fs::write(&path, json!({ "auths": { &fake.address: entry } }).to_string()).unwrap();
    Credentials::from_file(path)
}

#[tokio::test]
async fn tokens_are_asked_for_once_and_with_the_password() {
    let world = World::new();
    let fake = guarded(|request| match request.header("authorization") {
        Some("Basic dXNlcjpwYXNz") => Answer::ok(r#"{"token":"good"}"#),
        _ => Answer::status(401),
    })
    .await;
    let credentials = docker_config(&world, &fake, json!({ "auth": "dXNlcjpwYXNz" }));
    let image = pull_as(&world, &fake, credentials).await.unwrap();
    assert_eq!(files(&world.store, &image.snapshot)["file"], "secret");
    assert_eq!(fake.count("/token"), 1);
    let path = fake.requests().iter().find(|request| request.path.starts_with("/token")).unwrap().path.clone();
    assert_eq!(path, "/token?a=b&service=the+registry&scope=repository%3Aapp%3Apull");
    let error = pull_from(&World::new(), &fake).await.unwrap_err();
    assert!(matches!(error, ImageError::Unauthorized { .. }), "{error}");
    assert!(error.to_string().contains(&format!("docker login {}", fake.address)), "{error}");
}

#[tokio::test]
async fn identity_token_is_traded_in_a_form() {
    let world = World::new();
    let fake = guarded(|request| match request.body.contains("refresh_token=long%2Blived") {
        true => Answer::ok(r#"{"access_token":"good"}"#),
        false => Answer::status(401),
    })
    .await;
    let credentials = docker_config(&world, &fake, json!({ "identitytoken": "long+lived" }));
    assert!(pull_as(&world, &fake, credentials).await.is_ok());
}

#[tokio::test]
async fn hostile_token_servers_are_refused_without_a_secret_in_the_error() {
    let answers: [fn(&Request) -> Answer; 5] = [
        |_| Answer::ok(r#"{"token":"a\r\nx-evil: 1"}"#),
        |_| Answer::ok("{}"),
        |_| Answer::ok("["),
        |_| Answer { endless: true, ..Answer::ok(vec![b' '; 65536]) },
        |_| Answer::ok(r#"{"token":"bad"}"#),
    ];
    for answer in answers {
        let world = World::new();
        let fake = guarded(answer).await;
        let credentials = docker_config(&world, &fake, json!({ "username": "user", "password": "hunter2" }));
        let error = pull_as(&world, &fake, credentials).await.unwrap_err();
        assert!(matches!(error, ImageError::Unauthorized { .. }), "{error}");
        assert!(!chain(&error).contains("hunter2"));
    }
}

#[tokio::test]
async fn password_is_sent_when_it_is_asked_for_and_only_to_its_registry() {
    let world = World::new();
    let elsewhere = Fake::serve(honest(&Image::small("x"))).await;
    let (target, answer) = (elsewhere.address.clone(), honest(&Image::small("x")));
    let fake = Fake::serve(move |request| match request.header("authorization") {
        Some("Basic dXNlcjpwYXNz") if request.path.contains("/blobs/") => {
            // Blobs are often kept with somebody else.
            Answer::status(307).with("location", format!("http://{target}{}", request.path))
        }
        Some("Basic dXNlcjpwYXNz") => answer(request),
        _ => Answer::status(401).with("www-authenticate", "Basic realm=\"x\""),
    })
    .await;
    let credentials = docker_config(&world, &fake, json!({ "username": "user", "password": "pass" }));
    pull_as(&world, &fake, credentials).await.unwrap();
    assert!(elsewhere.count("/blobs/") > 0);
    assert!(elsewhere.requests().iter().all(|request| request.header("authorization").is_none()));
}

#[tokio::test]
async fn dropped_pull_ends_its_transfers_and_leaves_nothing() {
    let world = World::new();
    let image = large();
    let (layer, answer) = (sha256(&image.blobs()[1]), honest(&image));
    let fake = Fake::serve(move |request| {
        let mut whole = answer(request);
        if request.path.ends_with(&layer) {
            // Some of it comes, and then the registry thinks.
            whole.length = Some(1 << 30);
            whole.body.truncate(50_000);
            whole.endless = false;
        }
        whole
    })
    .await;
    let pulling = pull_from(&world, &fake);
    assert!(tokio::time::timeout(Duration::from_millis(200), pulling).await.is_err());
    for _ in 0..200 {
        let tmp = fs::read_dir(world.store.root().join("tmp")).unwrap();
        let left = tmp.flat_map(|entry| fs::read_dir(entry.unwrap().path()).into_iter().flatten()).count();
        if left == 0 {
            return world.assert_no_trace();
        }
        tokio::time::sleep(Duration::from_millis(25)).await;
    }
    world.assert_no_trace();
}
