-- Whom to trust with how much work, judged by what was seen of a node and never by what it claims.

-- Of `slots`, those that the node may use now.
local function allowance(node, slots) return slots end

-- A node's place among the free ones of a model: the lowest is chosen. `held` of its `slots` are taken.
local function rank(node, model, held, slots) return held / slots end

-- What became of an attempt: 'completed' | 'fault' (it said so, or its answer was broken) | 'silent' (its lease ran out) | 'late' (a stage's
-- deadline passed) | 'refused' (it blamed the client) | 'handed_back'. `tokens_out` of a completed one, as counted by the coordinator.
local function note(node, id, number, outcome, tokens_out) end
