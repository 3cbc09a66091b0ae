//! What the client asks, each so many times, of any master that leads.

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Call {
    Submit { task: usize, payload: u8 },
    Cancel { task: usize },
    Get { task: usize },
}

impl Call {
    pub fn task(self) -> usize {
        match self {
            Self::Submit { task, .. } | Self::Cancel { task } | Self::Get { task } => task,
        }
    }
}
