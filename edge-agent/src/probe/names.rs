//! Which number a GPU has on this node: `gpu0` is a name that its UUID was given once, and that no other GPU ever gets.
//!
//! A driver numbers GPUs by their place, so that one which falls off the bus gives its number to the next. Here a number belongs to a
//! UUID for as long as its line stands in the file `gpus` of the state folder: `0 GPU-5e171e10`. Decides nothing else.
//!
//! Invariants: two UUIDs never have one number, also across restarts; the numbers of a machine that never changed are the driver's.
//! Read next: `probe.rs` (who asks).

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use wire::probe::GpuInfo;

/// More lines than this are not ours.
const MOST: usize = 1_024;

/// Numbers of GPUs by UUID, and which of them are there.
#[derive(Debug, Default)]
pub struct Names {
    /// Where they are kept; `None`: for as long as the process lives.
    path: Option<PathBuf>,
    known: Vec<(u32, String)>,
    /// The number of each GPU that is there, by its place in the driver's list.
    present: Vec<u32>,
}

impl Names {
    /// Takes up what was given before. A file that is not there is an empty one.
    pub fn open(path: Option<PathBuf>) -> io::Result<Self> {
        let known = match path.as_deref().map(fs::read_to_string) {
            Some(Ok(text)) => read(&text)
                .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "not lines of a number and a UUID"))?,
            Some(Err(error)) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            Some(Err(_)) | None => Vec::new(),
        };
        Ok(Self {
            path,
            known,
            present: Vec::new(),
        })
    }

    /// The driver lists these now. A new one gets the next number; returns an error if that could not be kept.
    pub fn list(&mut self, gpus: &[GpuInfo]) -> io::Result<()> {
        self.present.clear();
        let before = self.known.len();
        for place in 0..gpus.len() {
            let uuid = distinct(gpus, place);
            let known = self
                .known
                .iter()
                .find(|(_, known)| *known == uuid)
                .map(|(number, _)| *number);
            let number = known.unwrap_or_else(|| {
                let next = self.known.iter().map(|(number, _)| number + 1).max().unwrap_or(0);
                self.known.push((next, uuid.clone()));
                next
            });
            tracing::debug!(number, uuid, "GPU");
            self.present.push(number);
        }
        match &self.path {
            Some(path) if self.known.len() > before => keep(path, &self.known),
            _ => Ok(()),
        }
    }

    /// The numbers of the GPUs that are there, in the driver's order.
    pub fn present(&self) -> &[u32] {
        &self.present
    }

    /// GPUs that were here once and are not: number and UUID.
    pub fn missing(&self) -> impl Iterator<Item = (u32, &str)> {
        let is_missing = |(number, _): &&(u32, String)| !self.present.contains(number);
        self.known
            .iter()
            .filter(is_missing)
            .map(|(number, uuid)| (*number, uuid.as_str()))
    }

    /// Its place in the driver's list now, or why it has none.
    pub fn place(&self, number: u32) -> Result<u32, String> {
        if let Some(place) = self.present.iter().position(|known| *known == number) {
            return Ok(place as u32);
        }
        Err(match self.known.iter().find(|(known, _)| *known == number) {
            Some((_, uuid)) => format!("gpu{number} ({uuid}) is no longer there"),
            None => format!("the probe knows no gpu{number}"),
        })
    }

    /// What the driver listed by place, by number; for those that are not there, what `absent` says.
    pub fn by_number<T>(&self, listed: Vec<T>, absent: impl Fn(String) -> T) -> Vec<T> {
        let count = self.known.iter().map(|(number, _)| number + 1).max().unwrap_or(0);
        let mut listed: Vec<Option<T>> = listed.into_iter().map(Some).collect();
        let mut take = |number| {
            let place = self.place(number)?;
            let found = listed.get_mut(place as usize).and_then(Option::take);
            found.ok_or_else(|| format!("the probe tells nothing of gpu{number}"))
        };
        (0..count).map(|number| take(number).unwrap_or_else(&absent)).collect()
    }
}

/// The UUID of a GPU, made distinct where a driver tells none or the same twice.
fn distinct(gpus: &[GpuInfo], place: usize) -> String {
    let uuid: String = gpus[place].uuid.chars().filter(|c| c.is_ascii_graphic()).collect();
    let twins = gpus[..place]
        .iter()
        .filter(|other| other.uuid == gpus[place].uuid)
        .count();
    match (uuid.is_empty(), twins) {
        (false, 0) => uuid,
        (_, twins) => format!("{uuid}#{twins}"),
    }
}

fn read(text: &str) -> Option<Vec<(u32, String)>> {
    let line = |line: &str| {
        let (number, uuid) = line.split_once(' ')?;
        Some((
            number.parse().ok().filter(|number| *number < u32::MAX / 2)?,
            uuid.to_owned(),
        ))
    };
    let known: Vec<(u32, String)> = text.lines().take(MOST + 1).map(line).collect::<Option<_>>()?;
    (known.len() <= MOST).then_some(known)
}

fn keep(path: &Path, known: &[(u32, String)]) -> io::Result<()> {
    let text: String = known
        .iter()
        .map(|(number, uuid)| format!("{number} {uuid}\n"))
        .collect();
    wire_files::replace(path, text.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn gpus(uuids: &[&str]) -> Vec<GpuInfo> {
        let gpu = |uuid: &&str| GpuInfo {
            uuid: (*uuid).to_owned(),
            model: String::new(),
            min_power_cap_mw: 1,
            max_power_cap_mw: 2,
            default_power_cap_mw: 2,
        };
        uuids.iter().map(gpu).collect()
    }

    #[test]
    fn a_gpu_keeps_its_number_when_another_falls_off_the_bus_also_after_a_restart() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("gpus");
        let mut names = Names::open(Some(path.clone())).expect("empty");
        names.list(&gpus(&["A", "B"])).expect("kept");
        assert_eq!((names.place(0), names.place(1)), (Ok(0), Ok(1)));
        names.list(&gpus(&["B"])).expect("kept");
        for mut names in [names, Names::open(Some(path)).expect("whole")] {
            names.list(&gpus(&["B"])).expect("kept");
            assert_eq!(names.place(0), Err("gpu0 (A) is no longer there".to_owned()));
            assert_eq!(names.place(1), Ok(0));
            assert_eq!(names.missing().collect::<Vec<_>>(), [(0, "A")]);
            assert_eq!(names.by_number(vec!["of B"], |_| "none"), ["none", "of B"]);
            names.list(&gpus(&["C", "B", "A"])).expect("kept");
            assert_eq!(names.present(), [2, 1, 0]);
        }
    }

    #[test]
    fn gpus_without_a_uuid_are_told_apart_by_their_place() {
        let mut names = Names::default();
        names.list(&gpus(&["", "", "A", "A"])).expect("nothing to keep");
        assert_eq!(names.present(), [0, 1, 2, 3]);
    }

    #[test]
    fn a_file_that_is_not_ours_is_an_error_and_not_a_fresh_start() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("gpus");
        fs::write(&path, "gpu0=A\n").expect("a file");
        assert!(Names::open(Some(path)).is_err());
    }
}
