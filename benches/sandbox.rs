//! How long a command takes in a sandbox, from asking to its end, when it does nothing.

use std::{
    path::{Path, PathBuf},
    process::Stdio,
    time::Instant,
};

use cendriix_actors::sandboxes::{Allowed, ExecSpec, Filesystem, Local, Mode};
use tokio::process::Command;

use crate::{Done, load::quantile, report::Report, server};

/// How often each way is tried; they take turns, so that all meet the same noise.
const ROUNDS: usize = 200;
/// The first rounds warm caches up and do not count.
const WARM_UP: usize = 10;

/// A way to run a command.
enum Way {
    /// As any process.
    Plain(Vec<String>),
    Contained(Local, Mode),
}

impl Way {
    /// Runs a command that does nothing, to its end.
    async fn run(&self, tree: &Path) -> Done {
        match self {
            Self::Plain(words) => {
                let mut command = Command::new(words.first().ok_or("no program")?);
                command.args(&words[1..]).stdin(Stdio::null()).stderr(Stdio::null());
                // Some do nothing by refusing to.
                command.status().await?;
            }
            Self::Contained(local, mode) => {
                let spec = ExecSpec { mode: *mode, ..ExecSpec::new(tree, ["/bin/true"]) };
                let exit = local.exec(spec).await?.exit().await;
                if !exit.is_success() {
                    return Err(format!("a command that does nothing failed: {exit:?}").into());
                }
            }
        }
        Ok(())
    }
}

async fn behind(bubblewrap: bool, cgroups: bool, expected: Filesystem) -> Done<Local> {
    let program = PathBuf::from(env!("CARGO_BIN_EXE_cendriix"));
    let local = Local::probe_allowing(program, Allowed { bubblewrap, cgroups }).await;
    let found = local.capabilities();
    if found.filesystem != expected {
        return Err(format!("this machine has no {expected:?}: {:?}", found.notes).into());
    }
    Ok(local)
}

/// How long a command takes behind each wall, beside a plain process and what the walls are made of.
pub(crate) async fn sandbox() -> Done {
    let mut report = Report::new("sandbox");
    let home = server::home()?;
    std::fs::set_permissions(home.path(), std::os::unix::fs::PermissionsExt::from_mode(0o711))?;
    let tree = home.path().join("tree");
    std::fs::create_dir(&tree)?;
    let words = |line: &str| Way::Plain(line.split(' ').map(str::to_owned).collect());
    let bubblewrap = behind(true, true, Filesystem::Bubblewrap).await?;
    let ways = [
        ("plain spawn", words("/bin/true")),
        ("this program", words(&format!("{} sandbox-exec", env!("CARGO_BIN_EXE_cendriix")))),
        ("bwrap alone", words("bwrap --ro-bind / / --unshare-all --die-with-parent /bin/true")),
        ("bubblewrap", Way::Contained(bubblewrap.clone(), Mode::Local)),
        (
            "bubblewrap, no cgroups",
            Way::Contained(behind(true, false, Filesystem::Bubblewrap).await?, Mode::Local),
        ),
        ("landlock", Way::Contained(behind(false, true, Filesystem::Landlock).await?, Mode::Local)),
        (
            "landlock, no cgroups",
            Way::Contained(behind(false, false, Filesystem::Landlock).await?, Mode::Local),
        ),
        ("no wall", Way::Contained(bubblewrap, Mode::None)),
    ];
    let mut took = vec![Vec::with_capacity(ROUNDS); ways.len()];
    for round in 0..WARM_UP + ROUNDS {
        for ((_, way), took) in ways.iter().zip(&mut took) {
            let began = Instant::now();
            way.run(&tree).await?;
            if round >= WARM_UP {
                took.push(began.elapsed());
            }
        }
    }
    for took in &mut took {
        took.sort_unstable();
    }
    let plain = quantile(&took[0], 0.5);
    for ((name, _), took) in ways.iter().zip(&took) {
        let median = quantile(took, 0.5);
        let fields = [("median_ms", median), ("p95_ms", quantile(took, 0.95)), ("to_plain", median / plain)];
        report.row(name, &fields);
    }
    report.write()
}
