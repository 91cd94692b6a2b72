//! Processes that outlive xtask: started in a cgroup and a network namespace, remembered by pid and start time.

use super::cgroup;
use crate::paths;
use anyhow::{Context, Result, bail};
use std::{
    ffi::OsString,
    fs::{self, File},
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::{Duration, Instant},
};

/// One process to be kept running.
pub(crate) struct Daemon {
    /// Unique: names its pid file and its log.
    pub(crate) name: String,
    /// Below `keelson` in the v2 tree.
    pub(crate) cgroup: String,
    pub(crate) netns: Option<String>,
    pub(crate) program: PathBuf,
    pub(crate) args: Vec<OsString>,
    pub(crate) env: Vec<(String, String)>,
}

impl Daemon {
    /// Starts it unless it runs.
    pub(crate) fn ensure(&self) -> Result<()> {
        if pid(&self.name)?.is_some() {
            return Ok(());
        }
        let mut child = self.command()?.spawn().with_context(|| format!("starting {}", self.name))?;
        let id = child.id();
        let start = start_time(id)
            .with_context(|| format!("{} ended at once: see {}", self.name, log(&self.name).display()))?;
        fs::create_dir_all(paths::RUN)?;
        fs::write(pid_file(&self.name), format!("{id} {start}"))?;
        // Left to init, like every daemon; reaped here only if it ends while we still wait for the cluster.
        std::thread::spawn(move || child.wait());
        Ok(())
    }

    fn command(&self) -> Result<Command> {
        let cgroup = cgroup::ensure(&self.cgroup)?;
        let log = log(&self.name);
        fs::create_dir_all(log.parent().expect("logs lie in a folder"))?;
        let file = File::options().append(true).create(true).open(&log)?;
        let mut command = within(&cgroup, self.netns.as_deref());
        command.arg(&self.program).args(&self.args).envs(self.env.iter().map(|(k, v)| (k, v)));
        command.stdin(Stdio::null()).stdout(file.try_clone()?).stderr(file).process_group(0).current_dir("/");
        Ok(command)
    }

    /// Waits until `ready` answers true; fails early, with the log's end, when the process ends before.
    pub(crate) fn wait(&self, timeout: Duration, ready: impl Fn() -> bool) -> Result<()> {
        let deadline = Instant::now() + timeout;
        while !ready() {
            if pid(&self.name)?.is_none() {
                bail!("{} ended while starting:\n{}", self.name, log_end(&self.name));
            }
            if Instant::now() > deadline {
                bail!("{} is not ready after {timeout:?}:\n{}", self.name, log_end(&self.name));
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        Ok(())
    }
}

/// A command that first joins a cgroup and a network namespace, then becomes the program that its arguments name.
pub(crate) fn within(cgroup: &Path, netns: Option<&str>) -> Command {
    let mut command = Command::new("/bin/sh");
    command.args(["-c", "echo $$ > \"$0/cgroup.procs\" && exec \"$@\""]).arg(cgroup);
    if let Some(netns) = netns {
        // Not `ip netns exec`: it mounts another /sys, which hides the cgroup and bpf file systems.
        command.arg("nsenter").arg(format!("--net=/run/netns/{netns}")).arg("--");
    }
    command
}

fn pid_file(name: &str) -> PathBuf {
    Path::new(paths::RUN).join(format!("{name}.pid"))
}

fn log(name: &str) -> PathBuf {
    paths::cluster().join("logs").join(format!("{name}.log"))
}

/// The last lines of a daemon's log, for an error.
pub(crate) fn log_end(name: &str) -> String {
    const LINES: usize = 15;
    let text = fs::read_to_string(log(name)).unwrap_or_else(|e| format!("(no log: {e})"));
    let lines: Vec<&str> = text.lines().collect();
    format!("{}:\n{}", log(name).display(), lines[lines.len().saturating_sub(LINES)..].join("\n"))
}

/// The process of this name, if it runs. A pid that was given to another process since does not count.
pub(crate) fn pid(name: &str) -> Result<Option<u32>> {
    let text = match fs::read_to_string(pid_file(name)) {
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        other => other.with_context(|| format!("reading {}", pid_file(name).display()))?,
    };
    let Some((id, start)) = text.split_once(' ') else { return Ok(None) };
    let id: u32 = id.parse().with_context(|| format!("a pid in {}", pid_file(name).display()))?;
    Ok((start_time(id).as_deref() == Some(start)).then_some(id))
}

/// Field 22 of /proc/PID/stat, counted after the name, which may hold spaces (proc_pid_stat(5)); None for a dead one.
fn start_time(id: u32) -> Option<String> {
    let stat = fs::read_to_string(format!("/proc/{id}/stat")).ok()?;
    let fields: Vec<&str> = stat.rsplit_once(") ")?.1.split(' ').collect();
    let state = fields.first()?;
    (*state != "Z" && *state != "X").then(|| fields.get(19).map(ToString::to_string))?
}
