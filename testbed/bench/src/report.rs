//! One figure: ours, the peer's and the limit's of the same run, held against a goal.

use serde::Serialize;

/// A goal for a figure.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Goal {
    /// Ours is at most this.
    AtMost(f64),
    /// Ours is at least this.
    AtLeast(f64),
    /// Ours lies between these.
    Between(f64, f64),
    /// Ours divided by the limit is at least this.
    OfLimit(f64),
    /// None: it is shown because another figure is not understood without it.
    Known,
}

/// A figure as it is printed.
#[derive(Debug, Clone, Serialize)]
pub struct Figure {
    /// Which benchmark, and which of its figures.
    pub name: String,
    /// The unit of all three.
    pub unit: &'static str,
    /// What this product does.
    pub ours: f64,
    /// What the peer does on the same machine in the same run.
    pub peer: Option<f64>,
    /// Who the peer is.
    pub peer_name: &'static str,
    /// What cannot be beaten: the least work that does the same.
    pub limit: Option<f64>,
    /// What that is.
    pub limit_name: &'static str,
    /// In words.
    pub goal: String,
    /// Whether the goal is reached.
    pub ok: bool,
}

impl Figure {
    /// A figure with its goal checked.
    pub fn new(name: &str, unit: &'static str, ours: f64, goal: Goal) -> Self {
        let mut figure = Self {
            name: name.to_owned(),
            unit,
            ours,
            peer: None,
            peer_name: "",
            limit: None,
            limit_name: "",
            goal: String::new(),
            ok: false,
        };
        figure.set_goal(goal);
        figure
    }

    /// With a peer of the same run.
    pub fn peer(mut self, name: &'static str, value: f64) -> Self {
        (self.peer_name, self.peer) = (name, Some(value));
        self
    }

    /// With the limit of the same run.
    pub fn limit(mut self, name: &'static str, value: f64) -> Self {
        (self.limit_name, self.limit) = (name, Some(value));
        self
    }

    /// Checks the goal again, now that peer and limit are known.
    pub fn against(mut self, goal: Goal) -> Self {
        self.set_goal(goal);
        self
    }

    fn set_goal(&mut self, goal: Goal) {
        (self.goal, self.ok) = match goal {
            Goal::AtMost(most) => (format!("<= {most}"), self.ours <= most),
            Goal::AtLeast(least) => (format!(">= {least}"), self.ours >= least),
            Goal::Between(least, most) => (format!("{least} to {most}"), (least..=most).contains(&self.ours)),
            Goal::Known => ("shown".to_owned(), true),
            Goal::OfLimit(share) => (
                format!(">= {share} x limit"),
                self.limit.is_some_and(|limit| self.ours >= share * limit),
            ),
        };
    }
}

/// Prints figures: a table for people, or one JSON object a line.
pub fn print(figures: &[Figure], json: bool) {
    if json {
        for figure in figures {
            println!("{}", serde_json::to_string(figure).expect("a figure is plain data"));
        }
        return;
    }
    println!(
        "{:<22} {:>14} {:>14} {:>14}  {:<8} goal",
        "figure", "ours", "peer", "limit", "unit"
    );
    for figure in figures {
        let cell = |value: Option<f64>| value.map_or_else(|| "-".to_owned(), short);
        println!(
            "{:<22} {:>14} {:>14} {:>14}  {:<8} {} {}",
            figure.name,
            short(figure.ours),
            cell(figure.peer),
            cell(figure.limit),
            figure.unit,
            if figure.ok { "✓" } else { "✕" },
            figure.goal
        );
        let ratio = |name: &str, value: Option<f64>| match value {
            Some(value) if value != 0.0 => format!("  {:.3} x {name}", figure.ours / value),
            _ => String::new(),
        };
        let line = ratio(figure.peer_name, figure.peer) + &ratio(figure.limit_name, figure.limit);
        if !line.is_empty() {
            println!("                      {line}");
        }
    }
}

fn short(value: f64) -> String {
    match value.abs() {
        v if v >= 10_000.0 => format!("{value:.0}"),
        v if v >= 100.0 => format!("{value:.1}"),
        _ => format!("{value:.3}"),
    }
}

/// The value below which this share of `values` lies.
pub fn quantile(values: &mut [f64], share: f64) -> f64 {
    values.sort_by(f64::total_cmp);
    let place = (share * (values.len().max(1) - 1) as f64).round() as usize;
    values.get(place).copied().unwrap_or(f64::NAN)
}
