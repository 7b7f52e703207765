<?php
// php client.php MODE URL PICTURE: sends the picture as a PHP program would and prints the status.
[, $mode, $url, $path] = $argv;
$handle = curl_init($url);
curl_setopt($handle, CURLOPT_RETURNTRANSFER, true);
if ($mode === 'form') {
    curl_setopt($handle, CURLOPT_POSTFIELDS, ['file' => new CURLFile($path)]); // the whole path
} elseif ($mode === 'string-file') {
    curl_setopt($handle, CURLOPT_POSTFIELDS, ['file' => new CURLStringFile(file_get_contents($path), 'a.png', 'image/png')]);
} elseif ($mode === 'json') {
    curl_setopt($handle, CURLOPT_POSTFIELDS, json_encode(['image' => base64_encode(file_get_contents($path))]));
    curl_setopt($handle, CURLOPT_HTTPHEADER, ['Content-Type: application/json']);
} else {
    curl_setopt($handle, CURLOPT_POSTFIELDS, file_get_contents($path));
}
curl_exec($handle);
echo curl_getinfo($handle, CURLINFO_RESPONSE_CODE), "\n";
