//! Neither threads nor their delays nor the length of queues are seen in an image.

use std::num::NonZeroUsize;

use crate::options::Disturbance;
use crate::testing::{image_with, metadata};
use crate::{BlockSize, Digest, Options};

/// The image of contents of all lengths, some of them equal, some beginning like others.
fn digest(threads: usize, disturbance: Disturbance) -> Digest {
    let threads = NonZeroUsize::new(threads).unwrap();
    let options = Options { block_size: BlockSize::MIN, threads, disturbance, ..Options::default() };
    let (_, summary) = image_with(options, |writer| {
        for number in 0..120_u32 {
            let mut content = vec![0; (number as usize * 977) % 20_000];
            blake3::Hasher::new().update(&(number % 50).to_le_bytes()).finalize_xof().fill(&mut content);
            if number % 3 == 0 {
                content.iter_mut().for_each(|byte| *byte %= 4);
            }
            if number % 7 == 0 {
                content.iter_mut().take(9000).for_each(|byte| *byte = 0);
            }
            writer.add_file(format!("f{number}").as_bytes(), &metadata(0o644), &mut &content[..])?;
        }
        Ok(())
    });
    summary.file_digest
}

#[test]
fn bytes_are_those_of_one_thread_whatever_the_threads_do() {
    let expected = digest(1, Disturbance::default());
    for threads in [1, 2, 3, 16] {
        for window in [None, Some(1), Some(2), Some(64)] {
            for delays in [None, Some(1), Some(2)] {
                let disturbance = Disturbance { window, delays };
                assert_eq!(digest(threads, disturbance), expected, "{threads} threads, {disturbance:?}");
            }
        }
    }
}
