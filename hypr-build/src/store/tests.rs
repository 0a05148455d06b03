//! Tests of the store as a whole: several users at once, users that are killed, what is left afterwards.

use std::{
    env,
    ffi::OsString,
    fs::{self, Permissions},
    io::{self, BufRead, BufReader, Write},
    os::unix::fs::PermissionsExt,
    path::Path,
    process::{Child, Command, Stdio},
    thread,
    time::Duration,
};

use tempfile::TempDir;

use super::*;
use crate::{
    Layer, LayerId,
    image::{ImageConfig, Manifest, Platform, Reference, Sha256Digest, SquashfsFile},
};

type Result<T = ()> = std::result::Result<T, Box<dyn std::error::Error>>;

fn store() -> Result<(TempDir, Store)> {
    let temporary = tempfile::tempdir()?;
    let store = Store::open(&temporary.path().join("store"))?;
    Ok((temporary, store))
}

fn names(folder: &Path) -> io::Result<Vec<OsString>> {
    let mut names = fs::read_dir(folder)?.map(|entry| Ok(entry?.file_name())).collect::<io::Result<Vec<_>>>()?;
    names.sort();
    Ok(names)
}

fn publish(store: &Store, content: &[u8]) -> std::result::Result<Layer, StoreError> {
    let digest = Digest::of(content);
    let layer = store.new_layer()?;
    layer.file().write_all(content).map_err(|error| StoreError::io("write", "layer", error))?;
    layer.publish_as(LayerId { file: digest, content: digest, size: content.len() as u64 }, b"index")
}

fn record(key: Key, layer: Option<LayerId>, created: i64) -> StepRecord {
    let (created, duration) = (Timestamp(created), Duration::from_millis(7));
    StepRecord { key, layer, created, duration, executor: Some("namespace".into()), data: [].into() }
}

#[test]
fn store_is_made_once_and_opened_again() -> Result {
    let (temporary, store) = store()?;
    let before = names(store.root())?;
    assert_eq!(fs::metadata(store.root())?.permissions().mode() & 0o777, 0o700);
    Store::open(store.root())?;
    assert_eq!(names(store.root())?, before);
    assert!(names(&store.root().join("tmp"))?.is_empty());
    // A folder that somebody deleted comes back when it is needed.
    fs::remove_dir_all(store.root().join("layers"))?;
    fs::remove_dir_all(store.root().join("tmp"))?;
    let store = Store::open(&temporary.path().join("store"))?;
    publish(&store, b"layer")?;
    Ok(())
}

#[test]
fn root_that_cannot_be_used_is_refused_with_the_way_out() -> Result {
    let temporary = tempfile::tempdir()?;
    fs::write(temporary.path().join("file"), "")?;
    for root in [temporary.path().join("file/store"), "/proc/hypr".into()] {
        let error = Store::open(&root).err().ok_or("opened")?;
        assert!(matches!(error, StoreError::Unusable { .. }), "{error:?}");
        assert!(error.to_string().contains("--root"), "{error}");
    }
    fs::create_dir(temporary.path().join("newer"))?;
    fs::write(temporary.path().join("newer/lock"), "hypr store 99\n")?;
    let error = Store::open(&temporary.path().join("newer")).err().ok_or("opened")?;
    assert!(matches!(&error, StoreError::Version { found, .. } if found == "hypr store 99"), "{error:?}");
    Ok(())
}

#[test]
fn full_disk_is_named_as_such() {
    let full = io::Error::from(rustix::io::Errno::NOSPC);
    assert!(matches!(StoreError::io("write", "x", full), StoreError::Full { .. }));
    let quota = io::Error::from(rustix::io::Errno::DQUOT);
    assert!(matches!(StoreError::io("write", "x", quota), StoreError::Full { .. }));
}

#[test]
fn same_layer_published_by_many_at_once_is_there_once() -> Result {
    let (_temporary, store) = store()?;
    let others: Vec<Store> = (0..4).map(|_| Store::open(store.root())).collect::<std::result::Result<_, _>>()?;
    let layers = thread::scope(|scope| {
        let threads: Vec<_> = others
            .iter()
            .flat_map(|store| [store, store])
            .map(|store| scope.spawn(move || publish(store, b"content")))
            .collect();
        threads.into_iter().map(|thread| thread.join().expect("no panic")).collect::<std::result::Result<Vec<_>, _>>()
    })?;
    assert!(layers.windows(2).all(|pair| pair[0] == pair[1]));
    assert_eq!(fs::read(&layers[0].path)?, b"content");
    assert_eq!(names(&store.root().join("layers"))?.len(), 2, "one layer, one index");
    assert_eq!(store.layer(&layers[0].id), Some(layers[0].clone()));
    drop(others);
    assert!(names(&store.root().join("tmp"))?.is_empty());
    Ok(())
}

#[test]
fn layer_that_is_gone_or_cut_off_is_absent_and_made_again() -> Result {
    let (_temporary, store) = store()?;
    let layer = publish(&store, b"content")?;
    fs::write(&layer.path, "cont")?;
    assert_eq!(store.layer(&layer.id), None);
    publish(&store, b"content")?;
    assert_eq!(fs::read(&layer.path)?, b"content");
    fs::remove_file(&layer.path)?;
    assert_eq!(store.layer(&layer.id), None);
    Ok(())
}

#[test]
fn unpublished_work_vanishes_when_dropped() -> Result {
    let (_temporary, store) = store()?;
    let layer = store.new_layer()?;
    layer.file().write_all(b"half")?;
    let work = store.work_dir()?;
    work.file("a")?.write_all(b"x")?;
    assert!(work.file("a").is_err());
    work.unnamed_file()?.write_all(b"x")?;
    let read_only = work.path().join("folder");
    fs::create_dir_all(read_only.join("inside"))?;
    fs::set_permissions(&read_only, Permissions::from_mode(0o500))?;
    drop((layer, work, store.clone()));
    let tmp = store.root().join("tmp");
    drop(store);
    assert!(names(&tmp)?.is_empty());
    Ok(())
}

#[test]
fn record_comes_back_and_a_damaged_or_foreign_one_does_not() -> Result {
    let (_temporary, store) = store()?;
    let key = Key::new("run").input("argv", "make");
    assert_eq!(store.step(&key)?, None);
    let layer = publish(&store, b"content")?;
    let record = record(key.clone(), Some(layer.id), 5);
    store.publish_step(&record)?;
    assert_eq!(store.step(&key)?, Some(record.clone()));
    let path = store.root().join(format!("cache/steps/{}.json", key.digest()));
    let other = Key::new("run").input("argv", "other");
    fs::copy(&path, store.root().join(format!("cache/steps/{}.json", other.digest())))?;
    assert_eq!(store.step(&other)?, None);
    let bytes = fs::read(&path)?;
    fs::write(&path, &bytes[..bytes.len() / 2])?;
    assert_eq!(store.step(&key)?, None);
    store.publish_step(&record)?;
    assert_eq!(store.step(&key)?, Some(record));
    Ok(())
}

#[test]
fn closest_step_is_the_latest_of_the_most_alike() -> Result {
    let (_temporary, store) = store()?;
    let key = |argv: &str, env: &str| Key::new("run").input("parent", "p").input("env", env).input("argv", argv);
    assert_eq!(store.closest_step(&key("make", "A=1"))?, None);
    for (argv, env, created) in [("make", "A=2", 1), ("make", "A=3", 2), ("other", "A=4", 3)] {
        store.publish_step(&record(key(argv, env), None, created))?;
    }
    store.publish_step(&record(Key::new("copy").input("parent", "p"), None, 9))?;
    let (record, difference) = store.closest_step(&key("make", "A=1"))?.ok_or("none")?;
    assert_eq!(record.created, Timestamp(2));
    assert_eq!(difference.to_string(), r#"env was "A=3" and is "A=1""#);
    Ok(())
}

#[test]
fn times_are_written_as_images_have_them() {
    assert_eq!(Timestamp(0).to_string(), "1970-01-01T00:00:00Z");
    assert_eq!(Timestamp(1_714_564_800).to_string(), "2024-05-01T12:00:00Z");
    assert_eq!(Timestamp(i64::MAX).to_string(), format!("@{}", i64::MAX));
    assert!(Timestamp::now() > Timestamp(1_700_000_000));
}

#[tokio::test]
async fn step_lock_waits_for_its_owner_and_leaves_no_file() -> Result {
    let (_temporary, store) = store()?;
    let key = Key::new("run");
    let first = store.lock_step(&key).await?;
    let other = Store::open(store.root())?;
    assert!(other.try_lock_step(&key)?.is_none());
    assert!(other.try_lock_step(&Key::new("copy"))?.is_some());
    let waiting = tokio::time::timeout(Duration::from_millis(30), other.lock_step(&key)).await;
    assert!(waiting.is_err(), "the wait ends when it is dropped");
    let (second, ()) = tokio::join!(other.lock_step(&key), async {
        tokio::time::sleep(Duration::from_millis(20)).await;
        drop(first);
    });
    assert!(store.try_lock_step(&key)?.is_none());
    drop(second?);
    assert!(names(&store.root().join("tmp"))?.is_empty());
    Ok(())
}

#[test]
fn only_one_of_many_has_the_step_lock() -> Result {
    let (_temporary, store) = store()?;
    let key = Key::new("run");
    let inside = std::sync::atomic::AtomicU32::new(0);
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(4).enable_time().build()?;
    runtime.block_on(async {
        let rounds = (0..40).map(|_| async {
            let _lock = store.lock_step(&key).await?;
            assert_eq!(inside.fetch_add(1, std::sync::atomic::Ordering::SeqCst), 0);
            tokio::task::yield_now().await;
            inside.fetch_sub(1, std::sync::atomic::Ordering::SeqCst);
            Ok::<_, StoreError>(())
        });
        futures_util::future::try_join_all(rounds).await
    })?;
    Ok(())
}

#[test]
fn blob_is_kept_only_if_it_is_what_was_promised() -> Result {
    let (_temporary, store) = store()?;
    let digest = Sha256Digest::of(b"content");
    let write = |content: &[u8], size| -> std::result::Result<_, StoreError> {
        let mut blob = store.new_blob(&digest, size)?;
        blob.write_all(content).map_err(|error| StoreError::io("write", "blob", error))?;
        blob.publish()
    };
    assert!(matches!(write(b"contents", None), Err(StoreError::BlobDigest { .. })));
    assert!(matches!(write(b"conten", Some(7)), Err(StoreError::BlobSize { found: 6, .. })));
    let error = write(b"contents", Some(7)).err().ok_or("written")?;
    let source = std::error::Error::source(&error).ok_or("no source")?;
    assert!(source.to_string().contains("should have 7 bytes"), "{source}");
    assert_eq!(store.blob(&digest), None);
    assert!(names(&store.root().join("blobs/sha256"))?.is_empty());
    assert_eq!(fs::read(write(b"content", Some(7))?)?, b"content");
    assert_eq!(store.put_blob(b"content")?, digest);
    assert!(store.blob(&digest).is_some());
    // What a power failure left of one.
    let other = store.put_blob(b"another")?;
    let path = store.blob(&other).ok_or("not there")?;
    fs::write(&path, b"")?;
    store.put_blob(b"another")?;
    assert_eq!(fs::read(&path)?, b"another");
    Ok(())
}

fn manifest(store: &Store, squashfs: &[u8], label: &str) -> Result<Manifest> {
    let image = store.new_image()?;
    image.file().write_all(squashfs)?;
    let image = image.publish(Digest::of(squashfs), None)?;
    let mut config = ImageConfig::new(&Platform::host());
    config.author = Some(label.to_owned());
    let squashfs = SquashfsFile { path: image.path, digest: image.digest, content: image.digest, size: image.size };
    Ok(Manifest {
        version: Manifest::VERSION,
        name: None,
        id: config.id(),
        created: None,
        platform: Platform::host(),
        config,
        layers: Vec::new(),
        history: Vec::new(),
        squashfs,
    })
}

#[test]
fn image_is_found_by_name_and_id_and_its_file_goes_with_the_last_name() -> Result {
    let (_temporary, store) = store()?;
    let [app, nested, local] = ["app:1", "app/tool:1", "127.0.0.1:5000/app:latest"]
        .map(|name| name.parse::<Reference>().expect("a valid name"));
    let first = manifest(&store, b"shared", "first")?;
    let second = manifest(&store, b"shared", "second")?;
    assert_eq!(store.tag(&app, &first)?, None);
    assert_eq!(store.tag(&nested, &first)?, None);
    assert_eq!(store.tag(&local, &first)?, None);
    assert_eq!(store.tag(&local, &second)?.as_ref(), Some(&first));
    assert!(store.root().join("images/docker.io/library/app/_tags/1.json").is_file());
    assert_eq!(store.resolve(&local)?.as_ref(), Some(&second));
    assert_eq!(store.resolve(&"app:2".parse()?)?, None);
    let listed: Vec<_> = store.images()?.into_iter().filter_map(|image| image.name).collect();
    assert_eq!(listed, [local.clone(), nested.clone(), app.clone()]);
    let hex = first.id.hex();
    assert_eq!(store.image_by_id(&hex[..12])?.as_ref(), Some(&first));
    assert_eq!(store.image_by_id(&first.id.to_string())?.as_ref(), Some(&first));
    assert_eq!(store.image_by_id("")?, None);
    assert!(matches!(store.remove_image(&first.id), Err(StoreError::SeveralNames { names, .. }) if names.len() == 2));
    assert_eq!(store.untag(&app)?, Some(Removed { untagged: vec![app.clone()], deleted: vec![] }));
    assert_eq!(store.untag(&app)?, None);
    assert!(!store.root().join("images/docker.io/library/app/_tags").exists());
    assert_eq!(store.untag(&nested)?, Some(Removed { untagged: vec![nested], deleted: vec![first.id] }));
    assert!(second.squashfs.path.is_file(), "the other image has the same file");
    assert_eq!(store.remove_image(&second.id)?, Removed { untagged: vec![local], deleted: vec![second.id] });
    assert!(names(&store.root().join("images"))?.is_empty());
    Ok(())
}

#[test]
fn image_without_name_is_kept_until_it_has_one_or_is_removed() -> Result {
    let (_temporary, store) = store()?;
    let image = manifest(&store, b"content", "image")?;
    store.keep(&image)?;
    assert_eq!(store.images()?.iter().map(|image| &image.name).collect::<Vec<_>>(), [&None]);
    assert_eq!(store.image_by_id(&image.id.hex())?.as_ref(), Some(&image));
    store.tag(&"app:1".parse()?, &image)?;
    assert_eq!(store.images()?.len(), 1);
    store.keep(&image)?;
    let removed = store.remove_image_and_names(&image.id)?;
    assert_eq!((removed.untagged.len(), removed.deleted), (1, vec![image.id]));
    assert!(names(&store.root().join("images"))?.is_empty());
    assert!(matches!(store.keep(&image), Err(StoreError::NoImage(_))), "its file is gone");
    Ok(())
}

#[test]
fn unnamed_files_are_released_unless_a_manifest_cannot_be_read() -> Result {
    let (_temporary, store) = store()?;
    let name = "app:1".parse()?;
    let old = manifest(&store, b"old", "image")?;
    let new = manifest(&store, b"new", "image 2")?;
    store.tag(&name, &old)?;
    store.tag(&name, &new)?;
    assert!(!store.release_image(&new.squashfs.digest)?);
    let unreadable = store.root().join("images/docker.io/library/app/_tags/2.json");
    fs::write(&unreadable, "{")?;
    assert_eq!(store.release_images()?, []);
    assert_eq!(store.images()?.len(), 1);
    fs::remove_file(unreadable)?;
    assert_eq!(store.release_images()?, [old.squashfs.digest]);
    assert!(new.squashfs.path.is_file());
    Ok(())
}

#[test]
fn pruning_does_not_start_while_a_build_has_the_store() -> Result {
    let (_temporary, store) = store()?;
    let root = store.root().to_owned();
    assert!(matches!(Store::open_alone(&root), Err(StoreError::Busy { .. })));
    drop(store);
    let alone = Store::open_alone(&root)?;
    thread::scope(|scope| {
        let build = scope.spawn(|| Store::open(&root).map(drop));
        thread::sleep(Duration::from_millis(20));
        assert!(!build.is_finished());
        drop(alone);
        build.join().expect("no panic")
    })?;
    Ok(())
}

/// Runs in a process of its own: works in the store and waits to be killed.
#[test]
fn child() -> Result {
    let Some(root) = env::var_os("HYPR_TEST_KILLED_BUILD") else { return Ok(()) };
    let store = Store::open(Path::new(&root))?;
    let layer = store.new_layer()?;
    layer.file().write_all(b"half a layer")?;
    let work = store.work_dir()?;
    fs::create_dir_all(work.path().join("upper/a"))?;
    fs::set_permissions(work.path().join("upper"), Permissions::from_mode(0o000))?;
    let _lock = store.try_lock_step(&Key::new("run"))?.ok_or("locked")?;
    // To standard error, which the test harness leaves alone when told so.
    writeln!(io::stderr(), "ready")?;
    thread::sleep(Duration::from_secs(60));
    Ok(())
}

fn start_child(root: &Path) -> Result<Child> {
    let mut child = Command::new(env::current_exe()?)
        .args(["--exact", "store::tests::child", "--nocapture", "--test-threads=1"])
        .env("HYPR_TEST_KILLED_BUILD", root)
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()?;
    let output = BufReader::new(child.stderr.take().ok_or("no output")?);
    for line in output.lines() {
        if line? == "ready" {
            return Ok(child);
        }
    }
    Err("the child ended early".into())
}

#[test]
fn killed_build_leaves_only_work_that_the_next_one_removes() -> Result {
    let (_temporary, store) = store()?;
    let root = store.root().to_owned();
    let mut child = start_child(&root)?;
    let tmp = root.join("tmp");
    assert_eq!(names(&tmp)?.len(), 3, "its pending files, its work folder, its lock");
    drop(Store::open(&root)?);
    assert_eq!(names(&tmp)?.len(), 3, "who lives keeps its work");
    assert!(store.try_lock_step(&Key::new("run"))?.is_none());
    child.kill()?;
    child.wait()?;
    for folder in ["layers", "images", "cache/steps", "blobs/sha256"] {
        assert!(names(&root.join(folder))?.is_empty(), "{folder}");
    }
    let next = Store::open(&root)?;
    assert!(next.leftovers().is_empty());
    assert!(names(&tmp)?.is_empty());
    assert!(next.try_lock_step(&Key::new("run"))?.is_some());
    Ok(())
}

#[test]
fn lock_of_a_killed_build_is_taken_over_without_opening_anew() -> Result {
    let (_temporary, store) = store()?;
    let mut child = start_child(store.root())?;
    let key = Key::new("run");
    assert!(store.try_lock_step(&key)?.is_none());
    child.kill()?;
    child.wait()?;
    assert!(store.try_lock_step(&key)?.is_some());
    Ok(())
}
