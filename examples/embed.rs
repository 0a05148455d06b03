//! Builds an image from inside a program and shows what happens as it happens.
//!
//! `cargo run --package hypr-examples --example embed [CONTEXT]`; without a context it builds a Dockerfile that is part
//! of the program and needs no files.

#![expect(clippy::print_stdout, reason = "an example shows what it does")]

use hypr_build::{Builder, Error, Event};

/// An image of one file, made of nothing.
const DOCKERFILE: &str = r#"
FROM scratch
LABEL org.opencontainers.image.title="embedded"
COPY <<EOF /etc/motd
Built by a program, for a program.
EOF
"#;

#[tokio::main]
async fn main() -> Result<(), Error> {
    let builder = match std::env::args_os().nth(1) {
        Some(context) => Builder::new(context),
        None => Builder::from_dockerfile(DOCKERFILE),
    };
    let image = builder.tag("embedded").progress(show).build().await?;
    println!("{} is {}", image.id(), image.digest());
    Ok(())
}

/// Prints a line an event. The library itself never prints.
fn show(event: Event) {
    match event {
        Event::Started { step } => println!("[{} {}/{}] {}", step.stage, step.number, step.of, step.text),
        Event::Cached { step } => println!("[{} {}/{}] was there already", step.stage, step.number, step.of),
        Event::Output { step, bytes, .. } => print!("[{}] {}", step.stage, String::from_utf8_lossy(&bytes)),
        Event::Finished { step, duration, .. } => {
            println!("[{} {}/{}] took {duration:.1?}", step.stage, step.number, step.of)
        }
        Event::Warning { message, .. } => println!("warning: {message}"),
        // More kinds of events may come; what is not shown is no harm.
        _ => {}
    }
}
