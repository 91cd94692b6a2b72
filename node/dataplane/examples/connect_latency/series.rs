//! A process that connects, seen from the one that measures: started, asked for batches, ended.

use std::{
    io::{BufRead, BufReader, Write},
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
    time::{Duration, Instant},
};

use crate::{Result, lab::Lab, wire::Path};

/// A way that a process can connect, and how long each connection took.
pub(crate) struct Series {
    pub(crate) name: String,
    /// In the order of the rounds: the same index in two series of a process is the same moment.
    pub(crate) nanoseconds: Vec<u32>,
}

/// One process, and for `keelson` and `unmeasured` the programs that it lives under.
pub(crate) struct Worker {
    pub(crate) way: &'static str,
    pub(crate) series: Vec<Series>,
    /// Time of all its batches.
    pub(crate) taken: Duration,
    child: Child,
    commands: ChildStdin,
    answers: BufReader<ChildStdout>,
    /// Dropped after the process has ended: a cgroup with a process in it cannot be removed.
    _lab: Option<Lab>,
}

impl Worker {
    /// `against`: the programs of the way of this name.
    pub(crate) fn start(
        path: Path,
        way: &'static str,
        services: usize,
        against: Option<&std::path::Path>,
    ) -> Result<Self> {
        let lab = |measure, object| Lab::new(way, services, &path.backends(), measure, object).map(Some);
        let lab = match way {
            "keelson" => lab(true, None)?,
            "unmeasured" => lab(false, None)?,
            "against" => lab(true, against)?,
            _ => None,
        };
        let cgroup = lab.as_ref().map(Lab::cgroup).unwrap_or_default();
        let mut child = Command::new(std::env::current_exe()?)
            .args(["worker", &path.to_string(), way, &services.to_string()])
            .arg(cgroup)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let commands = child.stdin.take().ok_or("no stdin")?;
        let answers = BufReader::new(child.stdout.take().ok_or("no stdout")?);
        let mut worker =
            Self { way, series: Vec::new(), taken: Duration::ZERO, child, commands, answers, _lab: lab };
        let mut ready = String::new();
        worker.answers.read_line(&mut ready)?;
        let names = ready.trim().strip_prefix("ready ").ok_or("the process ended before it was ready")?;
        let series = |name: &str| Series { name: name.into(), nanoseconds: Vec::new() };
        worker.series = names.split(' ').map(series).collect();
        Ok(worker)
    }

    /// So many rounds of every way that it has.
    pub(crate) fn batch(&mut self, rounds: usize, count: bool) -> Result<()> {
        let start = Instant::now();
        writeln!(self.commands, "{rounds}")?;
        for _ in 0..rounds {
            let mut line = String::new();
            self.answers.read_line(&mut line)?;
            let times =
                line.split_whitespace().map(str::parse).collect::<std::result::Result<Vec<u32>, _>>()?;
            if times.len() != self.series.len() {
                return Err(format!("{} ended: {line:?}", self.way).into());
            }
            if count {
                self.series.iter_mut().zip(times).for_each(|(series, time)| series.nanoseconds.push(time));
            }
        }
        self.taken += start.elapsed();
        Ok(())
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        // An empty line tells it to end. One that hangs ends by its own alarm.
        let _ = writeln!(self.commands);
        let _ = self.child.wait();
    }
}
