-- wrk: every request posts the picture with a comment of its own, so that no cache can answer
local file = assert(io.open(os.getenv("BENCH_PICTURE"), "rb"))
local picture = file:read("*a")
file:close()
local first, rest = picture:sub(1, 2), picture:sub(3)
local number = tonumber(os.getenv("BENCH_START") or "0")

function request()
   number = number + 1
   return wrk.format("POST", nil, nil, first .. "\255\254\0\14" .. string.format("%012d", number) .. rest)
end
