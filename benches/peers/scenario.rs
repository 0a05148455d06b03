//! What is built: one entry a row of the table.

use std::fs;
use std::path::Path;
use std::time::Duration;

use crate::Result;
use crate::project::{big_files, dockerfile, of_instructions, small_files};
use crate::tools::{Tool, timed};

/// One row.
pub(crate) struct Scenario {
    pub(crate) name: &'static str,
    /// Our time as a part of the best peer's, at most.
    pub(crate) bar: f64,
    pub(crate) rounds: usize,
    /// Tools that would take minutes.
    pub(crate) without: &'static [&'static str],
    pub(crate) prepare: fn(&Path) -> Result<()>,
    /// What a tool does once before it is measured.
    pub(crate) warm_up: fn(&mut dyn Tool, &Path) -> Result<()>,
    /// What changes in the project before each round.
    pub(crate) change: fn(&Path, usize) -> Result<()>,
    /// What is measured.
    pub(crate) run: fn(&mut dyn Tool, &Path) -> Result<Duration>,
}

impl Scenario {
    const fn new(name: &'static str, bar: f64, prepare: fn(&Path) -> Result<()>) -> Self {
        Self { name, bar, rounds: 5, without: &[], prepare, warm_up: nothing, change: unchanged, run: cold }
    }

    /// Measured with everything in the cache that `change` left there.
    const fn rebuilt(self) -> Self {
        Self { warm_up: once, run: cached, rounds: 9, ..self }
    }
}

fn nothing(_: &mut dyn Tool, _: &Path) -> Result<()> {
    Ok(())
}

fn unchanged(_: &Path, _: usize) -> Result<()> {
    Ok(())
}

fn once(tool: &mut dyn Tool, project: &Path) -> Result<()> {
    tool.build(project, "measured", false).map(drop)
}

fn cached(tool: &mut dyn Tool, project: &Path) -> Result<Duration> {
    tool.build(project, "measured", false)
}

fn cold(tool: &mut dyn Tool, project: &Path) -> Result<Duration> {
    tool.forget()?;
    tool.build(project, "measured", true)
}

/// The rows, in the order of the table.
pub(crate) fn all() -> Vec<Scenario> {
    vec![
        Scenario::new("all cached, 5,000 files, 10 instructions", 0.2, |project| ten_instructions(project, 5_000))
            .rebuilt(),
        Scenario {
            change: |project, round| Ok(fs::write(project.join("src/d0007/f777.rs"), format!("changed {round}\n"))?),
            ..Scenario::new("one file of 5,000 changed", 0.125, |project| ten_instructions(project, 5_000)).rebuilt()
        },
        Scenario {
            run: per_run,
            ..Scenario::new("per RUN: (ten less one) / 9", 1.0 / 3.0, |project| {
                for (folder, count) in [("one", 1), ("ten", 10)] {
                    let folder = project.join(folder);
                    fs::create_dir(&folder)?;
                    let runs = (0..count).map(|number| format!("RUN echo {number} > /file{number}"));
                    dockerfile(&folder, &of_instructions("busybox", runs))?;
                }
                Ok(())
            })
        },
        Scenario::new("COPY of 20,000 small files, cold", 1.0 / 3.0, |project| {
            small_files(&project.join("src"), 20_000)?;
            dockerfile(project, "FROM busybox\nCOPY src /src\n")
        }),
        Scenario {
            rounds: 3,
            ..Scenario::new("COPY of 1 GiB, half random, cold", 1.0 / 3.0, |project| {
                big_files(&project.join("big"), 1024)?;
                dockerfile(project, "FROM busybox\nCOPY big /big\n")
            })
        },
        Scenario {
            rounds: 3,
            ..Scenario::new("four independent stages of `sleep 2`", 0.95, |project| {
                let stages = (0..4).map(|n| format!("FROM busybox AS s{n}\nRUN sleep 2; echo {n} > /out{n}\n"));
                let copies = (0..4).map(|n| format!("COPY --from=s{n} /out{n} /out{n}\n"));
                let text: String = stages.chain(["FROM busybox\n".to_owned()]).chain(copies).collect();
                dockerfile(project, &text)
            })
        },
        Scenario::new("an application: two compilations, packages, COPY --from", 0.85, application),
        Scenario {
            run: |tool, project| {
                let built = cold(tool, project)?;
                let written = tool.squashfs(project, "measured").map(|mut command| timed(&mut command)).transpose()?;
                Ok(built + written.unwrap_or_default())
            },
            ..Scenario::new("that application and its squashfs", 0.5, application)
        },
        Scenario {
            warm_up: |tool, project| {
                tool.build(&project.join("base"), "gigabyte", false)?;
                once(tool, &project.join("top"))
            },
            change: |project, round| Ok(fs::write(project.join("top/file"), format!("changed {round}\n"))?),
            run: |tool, project| cached(tool, &project.join("top")),
            ..Scenario::new("one file changed on a 1 GB base", 0.5, |project| {
                let (base, top) = (project.join("base"), project.join("top"));
                big_files(&base.join("big"), 1024)?;
                dockerfile(&base, "FROM busybox\nCOPY big /big\n")?;
                fs::create_dir(&top)?;
                fs::write(top.join("file"), "first\n")?;
                dockerfile(&top, "FROM gigabyte\nCOPY file /file\n")
            })
            .rebuilt()
        },
        Scenario::new("all cached, 50,000 files", 0.2, |project| ten_instructions(project, 50_000)).rebuilt(),
        Scenario {
            rounds: 3,
            without: &["buildah"],
            ..Scenario::new("500 instructions, cold", 0.5, |project| instructions(project, 500))
        },
        Scenario {
            without: &["buildah"],
            ..Scenario::new("500 instructions, all cached", 0.2, |project| instructions(project, 500)).rebuilt()
        },
        // How the times grow: with the rows for 500 instructions and for 5,000 and 50,000 files, a curve.
        Scenario {
            rounds: 3,
            without: &["buildah"],
            ..Scenario::new("growth: 10 instructions, cold", 0.5, |project| instructions(project, 10))
        },
        Scenario {
            rounds: 3,
            without: &["buildah"],
            ..Scenario::new("growth: 100 instructions, cold", 0.5, |project| instructions(project, 100))
        },
        Scenario {
            without: &["buildah"],
            ..Scenario::new("growth: 1,000 files, all cached", 0.2, |project| ten_instructions(project, 1_000))
                .rebuilt()
        },
        Scenario {
            without: &["buildah"],
            ..Scenario::new("growth: 10,000 files, all cached", 0.2, |project| ten_instructions(project, 10_000))
                .rebuilt()
        },
        Scenario {
            without: &["buildah"],
            ..Scenario::new("growth: 200,000 files, all cached", 0.2, |project| ten_instructions(project, 200_000))
                .rebuilt()
        },
    ]
}

fn ten_instructions(project: &Path, files: usize) -> Result<()> {
    small_files(&project.join("src"), files)?;
    fs::write(project.join("settings"), "a = 1\n")?;
    dockerfile(
        project,
        "FROM busybox\nENV MODE=release\nWORKDIR /app\nCOPY settings .\nRUN echo prepared > prepared\nCOPY src src\n\
         RUN ls src | wc -l > count\nLABEL kind=measured\nUSER nobody\nEXPOSE 80\nCMD [\"sh\"]\n",
    )
}

fn per_run(tool: &mut dyn Tool, project: &Path) -> Result<Duration> {
    let one = cold(tool, &project.join("one"))?;
    let ten = cold(tool, &project.join("ten"))?;
    Ok(ten.saturating_sub(one) / 9)
}

fn instructions(project: &Path, count: usize) -> Result<()> {
    fs::write(project.join("file"), "content\n")?;
    // A fifth of them make layers; dockerd stops at 128.
    let instructions = (0..count).map(|number| match number % 10 {
        0 => format!("COPY file /file{number}"),
        5 => format!("WORKDIR /work/{number}"),
        even if even % 2 == 0 => format!("LABEL number{number}={number}"),
        _ => format!("ENV NUMBER{number}={number}"),
    });
    dockerfile(project, &of_instructions("busybox", instructions))
}

/// A server that comes with files to serve, its worker, and a package with as many files as an interpreter's library.
fn application(project: &Path) -> Result<()> {
    for (name, functions) in [("server", 60), ("worker", 40)] {
        let folder = project.join(name);
        fs::create_dir(&folder)?;
        for file in 0..4 {
            let bodies: String = (0..functions)
                .map(|n| {
                    format!(
                        "int f{file}_{n}(int x) {{ for (int i = 0; i < x; i++) x ^= i * {n} + (x >> 3); return x; }}\n"
                    )
                })
                .collect();
            fs::write(folder.join(format!("part{file}.c")), bodies)?;
        }
        let main =
            format!("#include <stdio.h>\nint f0_1(int);\nint main(void) {{ printf(\"{name} %d\\n\", f0_1(7)); }}\n");
        fs::write(folder.join("main.c"), main)?;
    }
    small_files(&project.join("server/static"), 1500)?;
    small_files(&project.join("package/usr/share/package"), 1500)?;
    fs::create_dir_all(project.join("package/DEBIAN"))?;
    fs::write(
        project.join("package/DEBIAN/control"),
        "Package: measured\nVersion: 1\nArchitecture: all\nMaintainer: nobody <nobody@localhost>\nDescription: files\n",
    )?;
    timed(
        std::process::Command::new("dpkg-deb")
            .args(["--build", "--root-owner-group"])
            .args([project.join("package"), project.join("measured.deb")]),
    )?;
    fs::remove_dir_all(project.join("package"))?;
    dockerfile(
        project,
        "FROM debian-gcc AS server\nWORKDIR /src\nCOPY server .\nRUN gcc -O2 -o /server *.c\n\
         FROM debian-gcc AS worker\nWORKDIR /src\nCOPY worker .\nRUN gcc -O2 -o /worker *.c\n\
         FROM debian-gcc\nCOPY measured.deb /tmp/\nRUN dpkg -i /tmp/measured.deb && rm /tmp/measured.deb\n\
         COPY --from=server /src/static /srv/static\n\
         COPY --from=server /server /usr/local/bin/\nCOPY --from=worker /worker /usr/local/bin/\n\
         ENTRYPOINT [\"/usr/local/bin/server\"]\n",
    )
}
