//! Errors as gRPC callers see them: the status of the contract's table, the code in the trailer `forge-code`.

use tonic::{Code, Status, metadata::MetadataValue};

use crate::{db::Error, gateway::problem::Problem};

/// The status of an error of the database.
pub(super) fn from_db(error: Error) -> Status {
    from_problem(&Problem::from(error))
}

/// The status of a problem.
pub(super) fn from_problem(problem: &Problem) -> Status {
    let number = forge_core::Status::from_sqlstate(&problem.code).grpc;
    let mut status = Status::new(Code::from_i32(number), problem.detail.clone());
    if let Ok(code) = MetadataValue::try_from(&*problem.code) {
        status.metadata_mut().insert("forge-code", code);
    }
    status
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_follow_the_table() {
        for (code, grpc) in [
            (forge_core::Code::NotFound, Code::NotFound),
            (forge_core::Code::InvalidInput, Code::InvalidArgument),
            (forge_core::Code::Unavailable, Code::Unavailable),
            (forge_core::Code::LeaseLost, Code::Aborted),
        ] {
            let status = from_problem(&Problem::new(code, "x"));
            assert_eq!(status.code(), grpc);
            assert_eq!(
                status.metadata().get("forge-code").unwrap(),
                code.sqlstate()
            );
        }
        assert_eq!(from_problem(&Problem::internal()).code(), Code::Internal);
    }
}
